"""Loop fusion: elementwise operations that follow each other, and sums of results, in one loop.

In mode QUICK each operation is a call of NumPy, which reads all its numbers from memory and writes
others. An optimizer's update of a weight is some fifteen of them, dropout three. `Fuse` finds such
operations of a graph and puts each group of them into one, `Fused`, whose kernel reads each number
once. A sum or maximum over all numbers may be among a group's results, as a gradient's norm needs.

Most kernels see arrays as one long row. Where an input is broadcast, such as a mask ``(time, batch,
1)`` of outputs ``(time, batch, n)``, or a bias ``(1, 1, n)``, a kernel goes through the rows of the
last axis one by one.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from math import prod
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
from symrnn.kernels.writing import I8, JOB, Array, Code, Int

BLOCK = 1024
"""Numbers that go through all expressions together; a sum is of so many numbers first, or of a row
if that is longer and an input is broadcast."""
NEUTRAL: dict[type, float] = {scalar.Add: 0.0, scalar.Maximum: -np.inf}
"""What may be computed over all numbers, and the value that it begins with."""


class Expressions(NamedTuple):
    """Elementwise expressions, as plain values: two groups that are alike share a kernel.

    A reference is the number of an input, or of a step, counted on from the inputs; or a constant,
    its dtype and its text.
    """

    dtype: str
    """Of all numbers."""
    inputs: tuple[tuple[str, bool | tuple[bool, ...]], ...]
    """Of each its dtype, and whether it is one number for the whole array; or, for an array that
    is broadcast along some axes only, of each axis whether it is. Neighbouring axes along which the
    same inputs are broadcast are one here."""
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
    axes
        How many of the arrays' axes each axis of the expressions stands for, if there are inputs
        that are broadcast along some of them.
    """

    __props__ = ("expressions", "types", "axes")

    def __init__(
        self, expressions: Expressions, types: tuple[Any, ...], axes: tuple[int, ...] = ()
    ) -> None:
        self.expressions, self.types, self.axes = expressions, types, axes
        self._kernel: FusedKernel | None = None

    def __str__(self) -> str:
        return f"Fused{{{', '.join(str(op) for op, _ in self.expressions.steps)}}}"

    def make_node(self, *inputs: Variable) -> Apply[Any]:
        """Node with one output for each of `types`."""
        return Apply(self, list(inputs), [kind() for kind in self.types])

    def perform(self, node: Apply[Any], inputs: Any, storage: Any) -> None:
        """Call the kernel."""
        if self._kernel is None:
            self._kernel = FusedKernel(self.expressions, self.axes)
        for cell, value in zip(storage, self._kernel(inputs), strict=True):
            cell[0] = value

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kernel": None}

    def infer_shape(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """Shapes, from those of the inputs, which are the last of `arguments`."""
        kinds = zip(self.expressions.inputs, arguments[-1], strict=True)
        shape = next(shape for (_, broadcast), shape in kinds if not broadcast)
        return [() if total else shape for _, total in self.expressions.outputs]


class FusedKernel:
    """A kernel of expressions, called with NumPy arrays; the parameters are those of `Fused`."""

    def __init__(self, expressions: Expressions, axes: tuple[int, ...] = ()) -> None:
        self._dtype, self._call = expressions.dtype, load_fused(expressions)
        self._broadcast = [
            np.repeat(broadcast, axes).tolist() if isinstance(broadcast, tuple) else broadcast
            for _, broadcast in expressions.inputs
        ]
        ends = np.cumsum(axes, dtype=int).tolist()
        self._axes = [slice(end - k, end) for k, end in zip(axes, ends, strict=True)]
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
            If two arrays differ in shape, other than along the axes where one is broadcast.
        """
        arrays, numbers, partly = [], [], []
        shape: Any = None
        for x, broadcast in zip(inputs, self._broadcast, strict=True):
            if broadcast is True:
                numbers.append(x.item())
                continue
            arrays.append(x if x.flags.c_contiguous else _contiguous(x))
            if broadcast:
                partly.append((x.shape, broadcast))
            elif shape is None:
                shape, n = x.shape, x.size
            elif x.shape != shape:
                raise ValueError(_unlike(shape, x.shape))
        for other, broadcast in partly:
            if other != tuple(1 if b else k for k, b in zip(shape, broadcast, strict=True)):
                raise ValueError(_unlike(shape, other))
        sizes: tuple[int, ...] = ()
        n_blocks = -(-n // BLOCK)
        if self._axes:
            merged = [prod(shape[axes]) for axes in self._axes]
            rows_of_block = max(1, BLOCK // max(merged[-1], 1))
            n_blocks = -(-prod(merged[:-1]) // rows_of_block) if n else 0
            sizes = (n_blocks, rows_of_block, *merged)
        outputs: list[Any] = [
            np.empty(n_blocks, self._dtype) if total else empty(shape, dtype)
            for total, dtype in self._outputs
        ]
        given = np.array(numbers, self._dtype)
        addresses = (x.ctypes.data for x in (given, *arrays, *outputs))
        job = np.array([n_threads(), n, *addresses, *sizes], np.int64)
        self._call(job.ctypes.data)
        for k, (total, dtype) in enumerate(self._outputs):
            if total is scalar.Add:
                outputs[k] = np.add.reduce(outputs[k], dtype=np.float64, keepdims=True)
                outputs[k] = outputs[k].astype(dtype).reshape(())
            elif total:
                outputs[k] = np.maximum.reduce(outputs[k], keepdims=True).reshape(())
        return outputs


def _contiguous(x: np.ndarray) -> np.ndarray:
    """Copy an array; if its axes are in another order, part by part, which stays in the cache."""
    copy = empty(x.shape, x.dtype)
    axis = int(np.argmax(np.abs(x.strides)))
    if x.ndim < 3 or x.strides[-1] == x.itemsize or x.size < BLOCK * x.shape[axis]:
        copy[...] = x
    else:
        for to, part in zip(np.moveaxis(copy, axis, 0), np.moveaxis(x, axis, 0), strict=True):
            to[...] = part
    return copy


def _unlike(shape: tuple[int, ...], other: tuple[int, ...]) -> str:
    return (
        f"an elementwise operation got arrays of shapes {shape} and {other}, but they must have "
        "one shape: only an axis of static size 1 is broadcast"
    )


def by_rows(expressions: Expressions) -> int:
    """Return the number of axes if an input is broadcast along some of them, else 0."""
    return max(len(b) if isinstance(b, tuple) else 0 for _, b in expressions.inputs)


@cache
def variables(expressions: Expressions) -> tuple[list[Variable], list[Variable]]:
    """Return expressions as a graph of vectors: inputs and outputs."""
    inputs: list[Any] = [
        pt.tensor(dtype=dtype, shape=(1 if _is_one(broadcast) else None,))
        for dtype, broadcast in expressions.inputs
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
    are one number each, and the addresses of the other inputs and of the outputs. If an input is
    broadcast along some axes, the number of blocks follows, how many rows are in each, and the
    shape.
    """
    load_threads()
    n_axes = by_rows(expressions)
    inputs, outputs = variables(expressions)
    module = ir.Module("fused")
    work = Code(module, "work", work_arguments(), expressions.dtype, private=True)
    lo, hi, _, job = work.arguments
    n, numbers = work.given(job, 1), Array(work, work.pointer(work.given(job, 2)))
    ones = [v for v, (_, b) in zip(inputs, expressions.inputs, strict=True) if b is True]
    shared = [Rows([v], Array(work, numbers.at(k)), True) for k, v in enumerate(ones)]
    arrays = {v: b for v, (_, b) in zip(inputs, expressions.inputs, strict=True) if b is not True}
    after = 3 + len(arrays) + len(outputs)
    given = [_array(work, job, k, v) for k, v in enumerate(arrays, 3)]
    made = [_array(work, job, k, v) for k, v in enumerate(outputs, 3 + len(arrays))]
    totals = [total for _, total in expressions.outputs]

    def write(first: Int, count: Int, place_of: Callable[[tuple[bool, ...]], Int]) -> None:
        """Write what is done with numbers that follow each other, up to the end of a row."""
        rows = list(shared)
        for (v, broadcast), array in zip(arrays.items(), given, strict=True):
            place = place_of(broadcast) if isinstance(broadcast, tuple) else first
            rows.append(Rows([v], array[place], _is_one(broadcast)))
        results = [
            Rows([v], array[first])
            for v, array, total in zip(outputs, made, totals, strict=True)
            if total is None
        ]
        write_elementwise(work, count, rows, results, list(sums.values()))

    with work.loop(lo, hi) as block:
        sums = {
            k: Total(v, work.variable(work.splat(NEUTRAL[total])), OPERATIONS[total])
            for k, (v, total) in enumerate(zip(outputs, totals, strict=True))
            if total is not None
        }
        if n_axes:
            n_rows, *shape = (work.given(job, after + 1 + k) for k in range(n_axes + 1))
            last = (n // shape[-1]).at_most((block + 1) * n_rows)
            with work.loop(block * n_rows, last) as row:
                write(row * shape[-1], shape[-1], partial(_place, shape, row))
        else:
            first = block * BLOCK
            write(first, (n - first).at_most(BLOCK), lambda _: first)
        for k, total in sums.items():
            work.store_number(total.result(work), made[k].at(block))
    work.end()
    kernel = Code(module, "kernel", [JOB], expressions.dtype)
    (job,) = kernel.arguments
    n = kernel.given(job, 1)
    cost = n * (2 * len(expressions.steps) + 4 * (len(inputs) + len(outputs)))
    blocks = kernel.given(job, after) if n_axes else n.ceil_div(BLOCK)
    kernel.call("symrnn_in_threads", work.function, blocks, kernel.given(job, 0), cost, job)
    kernel.end()
    return load_kernel(str(module))[1]


def _is_one(broadcast: bool | tuple[bool, ...]) -> bool:
    """Whether an input has one number for each row of the last axis, or for all."""
    return broadcast[-1] if isinstance(broadcast, tuple) else broadcast


def _place(shape: Sequence[Int], row: Int, broadcast: tuple[bool, ...]) -> Int:
    """Where the numbers for a row begin in an array that is broadcast along some axes."""
    *sizes, length = shape
    *before, is_one = broadcast
    place, indices = row, [row] * len(sizes)
    if any(before):
        for k in range(len(sizes) - 1, 0, -1):
            indices[k - 1], indices[k] = indices[k] // sizes[k], indices[k] % sizes[k]
        place = row * 0
        for index, size, same in zip(indices, sizes, before, strict=True):
            place = place if same else place * size + index
    return place if is_one else place * length


def _array(code: Code, job: ir.Value, place: int, v: Variable) -> Array:
    """The array whose address is at a place of a job."""
    return Array(code, code.pointer(code.given(job, place), I8 if v.type.dtype == "bool" else None))


class Fuse(GraphRewriter):
    """Replaces groups of elementwise operations by a `Fused` each."""

    def apply(self, fgraph: Any) -> None:
        """Replace them."""
        for group in groups(fgraph, kind_of):
            if len(group) > 1 or isinstance(group[0].op, CAReduce) or _broadcasts(group[0]):
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
            both, new = 1 << g | 1 << me, above[me] & ~above[g] & ~(1 << g)
            above[g] |= new
            if new or me != len(members) - 1:  # else nothing changes for those that depend on them
                for h, bits in enumerate(above):
                    if bits & both:
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
    patterns = set()
    for v in node.inputs:
        if constant_of(v) is None:
            if all(v.type.broadcastable):
                if v.type.dtype == "bool":
                    return None
            else:
                patterns.add(v.type.broadcastable)
            dtypes.add(v.type.dtype)
    if ones not in patterns or (ones[-1] and len(patterns) > 1):
        return None
    dtypes.discard("bool")
    if len(dtypes) != 1 or not dtypes <= {"float32", "float64"}:
        return None
    return (*dtypes, ones)


def _broadcasts(node: Apply[Any]) -> bool:
    """Whether an input is broadcast along some axes."""
    patterns = (v.type.broadcastable for v in node.inputs)
    return any(p != node.outputs[0].type.broadcastable and not all(p) for p in patterns)


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


def _in_dtype(reference: Any, dtype: str) -> Any:
    """A reference, to a constant as the kernel computes with it: 0 and 0.0 make one kernel."""
    if isinstance(reference, int) or reference[0] == "bool":
        return reference
    return dtype, repr(float(reference[1]))


def _fused(fgraph: Any, group: Sequence[Apply[Any]]) -> tuple[list[Variable], list[Variable]]:
    """The results of a group that are used elsewhere, and those of one node instead."""
    given, steps, old, outputs = collect(fgraph, group)
    dtype, ones = kind_of(group[0])
    patterns = [v.type.broadcastable for v in given]
    partly = [p for p in patterns if p != ones and not all(p)]
    columns = [] if not partly else list(zip(*partly, strict=True))
    starts = [k for k, column in enumerate(columns) if k == 0 or column != columns[k - 1]]
    axes = tuple(np.diff([*starts, len(columns)]).tolist()) if partly else ()
    kinds = tuple(
        (v.type.dtype, False if p == ones else all(p) or tuple(p[k] for k in starts))
        for v, p in zip(given, patterns, strict=True)
    )
    steps = tuple((op, tuple(_in_dtype(r, dtype) for r in references)) for op, references in steps)
    op = Fused(Expressions(dtype, kinds, steps, outputs), tuple(v.type for v in old), axes)
    inputs = [without_axes(v) if all(v.type.broadcastable) else v for v in given]
    return old, list(op.make_node(*inputs).outputs)
