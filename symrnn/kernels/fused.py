"""Loop fusion: elementwise operations that follow each other, and sums of results, in one loop.

In mode QUICK each operation is a call of NumPy, which reads all its numbers from memory and writes
others. An optimizer's update of a weight is some fifteen of them, dropout three. `Fuse` finds such
operations of a graph and puts each group of them into one, `Fused`, whose kernel reads each number
once. A sum or maximum over all numbers may be among a group's results, as a gradient's norm needs.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor as pt
from llvmlite import ir
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.scalar import basic as scalar
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise

from symrnn.kernels.buffers import empty
from symrnn.kernels.elementwise import OPERATIONS, VECTORISED, Rows, Total, write_elementwise
from symrnn.kernels.machine import load_kernel, n_threads
from symrnn.kernels.threads import load_threads, work_arguments
from symrnn.kernels.writing import I8, JOB, Array, Code

BLOCK = 1024
"""Numbers that go through all expressions together; a sum is of so many numbers first."""
NEUTRAL: dict[type, float] = {scalar.Add: 0.0, scalar.Maximum: -np.inf}
"""What may be computed over all numbers, and the value that it begins with."""


class Expressions(NamedTuple):
    """Elementwise expressions, as plain values: two groups that are alike share a kernel.

    A reference is the number of an input, or of a step, counted on from the inputs; or a constant,
    its dtype and its text.
    """

    dtype: str
    """Of all numbers."""
    inputs: tuple[tuple[str, bool], ...]
    """Of each its dtype, and whether it is one number for the whole array."""
    steps: tuple[tuple[Any, tuple[Any, ...]], ...]
    """Scalar operations, with references to their operands."""
    outputs: tuple[tuple[Any, type | None], ...]
    """References; and, for a total over all numbers, the operation, which is in `NEUTRAL`."""


class Fused(Op):
    """Elementwise expressions of arrays of one shape.

    Parameters
    ----------
    expressions
        What is computed.
    types
        Those of the outputs.
    """

    __props__ = ("expressions", "types")

    def __init__(self, expressions: Expressions, types: tuple[Any, ...]) -> None:
        self.expressions, self.types = expressions, types
        self._kernel: FusedKernel | None = None

    def __str__(self) -> str:
        return f"Fused{{{', '.join(str(op) for op, _ in self.expressions.steps)}}}"

    def make_node(self, *inputs: Variable) -> Apply[Any]:
        """Node with one output for each of `types`."""
        return Apply(self, list(inputs), [kind() for kind in self.types])

    def perform(self, node: Apply[Any], inputs: Any, storage: Any) -> None:
        """Call the kernel."""
        if self._kernel is None:
            self._kernel = FusedKernel(self.expressions)
        for cell, value in zip(storage, self._kernel(inputs), strict=True):
            cell[0] = value

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kernel": None}

    def infer_shape(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """Shapes, from those of the inputs, which are the last of `arguments`."""
        kinds = zip(self.expressions.inputs, arguments[-1], strict=True)
        shape = next(shape for (_, shared), shape in kinds if not shared)
        return [() if total else shape for _, total in self.expressions.outputs]


class FusedKernel:
    """A kernel of expressions, to be called with NumPy arrays."""

    def __init__(self, expressions: Expressions) -> None:
        self._dtype, self._call = expressions.dtype, load_fused(expressions)
        self._is_shared = [shared for _, shared in expressions.inputs]
        _, outputs = variables(expressions)
        self._outputs = [
            (total, str(v.type.dtype))
            for v, (_, total) in zip(outputs, expressions.outputs, strict=True)
        ]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[Any]:
        """Return the outputs.

        Raises
        ------
        ValueError
            If two arrays differ in shape.
        """
        arrays, numbers = [], []
        for x, shared in zip(inputs, self._is_shared, strict=True):
            if shared:
                numbers.append(x.item())
            else:
                arrays.append(x if x.flags.c_contiguous else np.ascontiguousarray(x))
        shape, n = arrays[0].shape, arrays[0].size
        for x in arrays:
            if x.shape != shape:
                raise ValueError(
                    f"an elementwise operation got arrays of shapes {shape} and {x.shape}, but "
                    "they must have one shape: only an axis of static size 1 is broadcast"
                )
        outputs: list[Any] = [
            np.empty(-(-n // BLOCK), self._dtype) if total else empty(shape, dtype)
            for total, dtype in self._outputs
        ]
        given = np.array(numbers, self._dtype)
        job = np.array(
            [n_threads(), n, *(x.ctypes.data for x in (given, *arrays, *outputs))], np.int64
        )
        self._call(job.ctypes.data)
        for k, (total, dtype) in enumerate(self._outputs):
            if total is scalar.Add:
                outputs[k] = np.add.reduce(outputs[k], dtype=np.float64, keepdims=True)
                outputs[k] = outputs[k].astype(dtype).reshape(())
            elif total:
                outputs[k] = np.maximum.reduce(outputs[k], keepdims=True).reshape(())
        return outputs


@cache
def variables(expressions: Expressions) -> tuple[list[Variable], list[Variable]]:
    """Return expressions as a graph of vectors: inputs and outputs."""
    inputs: list[Any] = [
        pt.tensor(dtype=dtype, shape=(1 if shared else None,))
        for dtype, shared in expressions.inputs
    ]
    known = list(inputs)

    def operand(reference: Any) -> Any:
        if isinstance(reference, int):
            return known[reference]
        dtype, text = reference
        value = text == "True" if dtype == "bool" else float(text)
        return pt.constant(np.array([value], dtype))

    for op, references in expressions.steps:
        known.append(Elemwise(op)(*map(operand, references)))
    return inputs, [operand(reference) for reference, _ in expressions.outputs]


@cache
def load_fused(expressions: Expressions) -> Callable[[int], None]:
    """Compile the kernel; return a function that calls it with the address of a job.

    A job has the number of threads, how many numbers there are, the address of those inputs that
    are one number each, and the addresses of the other inputs and of the outputs.
    """
    load_threads()
    inputs, outputs = variables(expressions)
    module = ir.Module("fused")
    work = Code(module, "work", work_arguments(), expressions.dtype, private=True)
    lo, hi, _, job = work.arguments
    n, place, n_shared = work.given(job, 1), 3, 0
    numbers = Array(work, work.pointer(work.given(job, 2)))
    with work.loop(lo, hi) as block:
        first = block * BLOCK
        rows, results, totals = [], [], []
        for v, (_, shared) in zip(inputs, expressions.inputs, strict=True):
            if shared:
                rows.append(Rows([v], Array(work, numbers.at(n_shared)), True))
                n_shared += 1
            else:
                rows.append(Rows([v], _array(work, job, place, v)[first]))
                place += 1
        for v, (_, total) in zip(outputs, expressions.outputs, strict=True):
            array = _array(work, job, place, v)
            place += 1
            if total is None:
                results.append(Rows([v], array[first]))
                continue
            vector = work.variable(work.splat(NEUTRAL[total]))
            totals.append((Total(v, vector, OPERATIONS[total]), array.at(block)))
        count = (n - first).at_most(BLOCK)
        write_elementwise(work, count, rows, results, [total for total, _ in totals])
        for found, pointer in totals:
            work.store_number(found.result(work), pointer)
    work.end()
    kernel = Code(module, "kernel", [JOB], expressions.dtype)
    (job,) = kernel.arguments
    n = kernel.given(job, 1)
    cost = n * (2 * len(expressions.steps) + 4 * (len(inputs) + len(outputs)))
    blocks = n.ceil_div(BLOCK)
    kernel.call("symrnn_in_threads", work.function, blocks, kernel.given(job, 0), cost, job)
    kernel.end()
    return load_kernel(str(module))[1]


def _array(code: Code, job: ir.Value, place: int, v: Variable) -> Array:
    """The array whose address is at a place of a job."""
    return Array(code, code.pointer(code.given(job, place), I8 if v.type.dtype == "bool" else None))


class Fuse(GraphRewriter):
    """Replaces groups of elementwise operations by a `Fused` each."""

    def apply(self, fgraph: Any) -> None:
        """Replace them."""
        for group in groups(fgraph, kind_of):
            if len(group) > 1 or isinstance(group[0].op, CAReduce):
                old, new = _fused(fgraph, group)
                fgraph.replace_all_validate(
                    list(zip(old, new, strict=True)), reason="symrnn_fusion"
                )


def groups(fgraph: Any, kind_of: Callable[[Apply[Any]], Any]) -> Iterator[list[Apply[Any]]]:
    """Find the nodes that may be computed together, in the order of the graph.

    A node joins the group of a node that it gets an array from, unless something outside of the
    group lies between both.

    Parameters
    ----------
    kind_of
        Of a node; those of one group are of one kind. None: the node stays alone.
    """
    group_of: dict[Apply[Any], int] = {}
    members: list[list[Apply[Any]]] = []
    kinds: list[Any] = []
    above: list[int] = []  # of each group a bit for each of the groups that it depends on
    for node in fgraph.toposort():
        me = len(members)
        group_of[node] = me
        members.append([node])
        kinds.append(kind_of(node))
        above.append(0)
        for parent in _parents(node, group_of):
            above[me] |= above[parent] | 1 << parent
        for v in node.inputs if kinds[me] is not None else ():
            me = group_of[node]
            g = me if v.owner is None else group_of[v.owner]
            if g == me or kinds[g] != kinds[me] or isinstance(v.owner.op, CAReduce):
                continue
            between = {h for one in members[me] for h in _parents(one, group_of)} - {g, me}
            if any(above[h] >> g & 1 for h in between) or above[g] >> me & 1:
                continue  # the group would depend on itself
            for one in members[me]:
                group_of[one] = g
            members[g] += members[me]
            members[me] = []
            above[g] |= above[me] & ~(1 << g)
            for h, bits in enumerate(above):
                if bits >> g & 1 or bits >> me & 1:
                    above[h] = bits | above[g] | 1 << g
    for nodes, kind in zip(members, kinds, strict=True):
        if kind is not None and nodes:
            yield nodes


def _parents(node: Apply[Any], group_of: dict[Apply[Any], int]) -> set[int]:
    return {group_of[v.owner] for v in node.inputs if v.owner is not None}


def kind_of(node: Apply[Any]) -> Any:
    """Return what the nodes of a group have in common, or None if a node cannot be in a group."""
    op = node.op
    if isinstance(op, CAReduce):
        (array,) = node.inputs
        known = type(op.scalar_op) in NEUTRAL
        known = known and (op.axis is None or len(op.axis) == array.type.ndim)
        known = known and node.outputs[0].type.dtype == array.type.dtype
    elif isinstance(op, Elemwise) and len(node.outputs) == 1:
        (array,) = node.outputs
        known = type(op.scalar_op) in VECTORISED
        known = known and not (isinstance(op.scalar_op, scalar.Cast) and array.type.dtype == "bool")
    else:
        return None
    ones = array.type.broadcastable
    if not known or all(ones):
        return None
    dtypes = {array.type.dtype}
    for v in node.inputs:
        if constant_of(v) is None:
            is_one = all(v.type.broadcastable)
            if v.type.broadcastable != ones and (not is_one or v.type.dtype == "bool"):
                return None
            dtypes.add(v.type.dtype)
    dtypes.discard("bool")
    if len(dtypes) != 1 or not dtypes <= {"float32", "float64"}:
        return None
    return (*dtypes, ones)


def constant_of(v: Variable) -> tuple[str, str] | None:
    """Return the dtype and the text of a constant that is one number."""
    v = without_axes(v)
    if not isinstance(v, Constant) or np.size(v.data) != 1:
        return None
    return str(v.type.dtype), repr(np.asarray(v.data).item())


def without_axes(v: Variable) -> Variable:
    """Return a variable of one number without the axes that have been put around it."""
    while v.owner is not None and isinstance(v.owner.op, DimShuffle):
        if not all(v.type.broadcastable):
            break
        v = v.owner.inputs[0]
    return v


def collect(fgraph: Any, group: Sequence[Apply[Any]]) -> tuple[list[Variable], Any, Any, Any]:
    """Describe a group as `Expressions` does.

    Returns
    -------
    given, steps, old, outputs
        Inputs, which are no constants; steps; the results that are used elsewhere, and references
        to them with what is made of them.
    """
    inside = set(group)
    given = dict.fromkeys(
        v for node in group for v in node.inputs if v.owner not in inside and not constant_of(v)
    )
    places = {v: k for k, v in enumerate(given)}
    steps = []
    for node in group:
        if isinstance(node.op, Elemwise):
            references = tuple(constant_of(v) or places[v] for v in node.inputs)
            steps.append((node.op.scalar_op, references))
            places[node.outputs[0]] = len(places)
    old: list[Variable] = []
    outputs: list[tuple[Any, type | None]] = []
    for node in group:
        (v,) = node.outputs
        if isinstance(node.op, CAReduce):
            old.append(v)
            outputs.append((places[node.inputs[0]], type(node.op.scalar_op)))
        elif any(client not in inside for client, _ in fgraph.clients[v]):
            old.append(v)
            outputs.append((places[v], None))
    return list(given), tuple(steps), old, tuple(outputs)


def _fused(fgraph: Any, group: Sequence[Apply[Any]]) -> tuple[list[Variable], list[Variable]]:
    """The results of a group that are used elsewhere, and those of one node instead."""
    given, steps, old, outputs = collect(fgraph, group)
    dtype, _ = kind_of(group[0])
    kinds = tuple((str(v.type.dtype), all(v.type.broadcastable)) for v in given)
    op = Fused(Expressions(dtype, kinds, steps, outputs), tuple(v.type for v in old))
    inputs = [without_axes(v) if all(v.type.broadcastable) else v for v in given]
    return old, list(op.make_node(*inputs).outputs)
