"""How a recurrent loop runs fast. Nothing outside imports the insides of these modules.

`recurrence` builds a loop, from a cell's step that `step_rows` has looked through. Until a function
is compiled the loop is one node of the graph; then the rewrites of `rewrites` replace it by two
scans, and in mode NUMBA some operations by faster ones:

- `recurrence`: the two scans, a forward and a backward pass;
- `step_rows`: a cell's step and its gradient, as expressions of rows of numbers;
- `fusion`: many elementwise expressions in one loop;
- `products`: matrix products without copies of transposes;
- `scatter_add`: rows of a gradient added to rows of an embedding's;
- `shapes`: mode JAX refuses sequences of unknown shape with a message that helps;
- `dispatch`: registers operations with PyTensor's numba backend.
"""
