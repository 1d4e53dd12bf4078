"""How a recurrent loop runs fast. Nothing outside imports the insides of these modules.

A loop is one operation of the graph, and so is its backward pass. Each calls a kernel: machine code
made for this loop by LLVM, the compiler that numba uses too. From the graph down to the machine:

- `recurrence`: both operations, and what makes them from a cell;
- `step_rows`: a cell's step and its gradient, as expressions of rows of numbers;
- `loop`: the kernels of both: products and elementwise parts in a loop over time;
- `product`: the product of matrices within a kernel; `elementwise`: expressions within a kernel;
- `products`, `sums`: other operations of a graph that kernels compute, matrix products and sums;
- `fused`, `numbers`: elementwise operations of a graph in one loop, and those on single numbers;
- `uniform`: random numbers;
- `calls`: calls a kernel with NumPy arrays; `buffers`: memory for these, kept from call to call;
- `writing`: writes functions in LLVM's language; `threads`: shares their work among threads;
- `machine`: compiles them, keeps them on disk, and loads them.

`rewrites` says what happens to a graph in which mode. In mode NUMBA `dispatch` makes functions that
call the kernels, and `scatter_add` adds rows of a gradient to rows of an embedding's. Mode JAX has
no kernels: there `scans` takes the place of the loops, as it does for second derivatives and cells
with operations that kernels do not know; and `shapes` refuses sequences of unknown shape with a
message that helps.
"""
