"""Sums of the columns of a matrix: the gradient of a bias is one, over all steps and samples.

NumPy converts every number to float64 for such a sum, as PyTensor asks it to, which takes longer
than the product with the weights. The kernel sums up float32 numbers, some rows at a time and then
these sums, so that rounding errors stay small.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.tensor.math import Sum

from symrnn.kernels.machine import function_at, load, n_threads
from symrnn.kernels.threads import load_threads, work_arguments
from symrnn.kernels.writing import JOB, Array, Code

ROWS_AT_A_TIME, VECTORS = 64, 4
SUM_JOB = ("n_threads", "rows", "columns", "x", "x_row", "out")
FEW = 2**14
"""Numbers that NumPy sums up in less time than it takes to call a kernel."""


def sum_symbol(dtype: str) -> str:
    """Name of the kernel, by which other compiled code may call it."""
    return f"symrnn_column_sum_{dtype}"


@cache
def load_sum(dtype: str) -> int:
    """Compile the kernel for a dtype; return its address."""
    load_threads()
    module = ir.Module("sum")
    work = Code(module, "work", work_arguments(), dtype, private=True)
    lo, hi, _, job = work.arguments
    g = {name: work.given(job, k) for k, name in enumerate(SUM_JOB)}
    x = Array(work, work.pointer(g["x"]), g["x_row"])
    out = Array(work, work.pointer(g["out"]))
    width = VECTORS * work.W
    with work.loop(0, g["rows"], ROWS_AT_A_TIME) as first, work.loop(lo, hi) as block:
        column, last = block * width, (first + ROWS_AT_A_TIME).at_most(g["rows"])
        masks = [work.first(g["columns"] - column - v * work.W) for v in range(VECTORS)]
        sums = [work.variable(work.splat(0.0)) for _ in masks]
        with work.loop(first, last) as row:
            for v, mask in enumerate(masks):
                number = work.load(x.at(row, column + v * work.W), mask)
                work.assign(sums[v], work.b.fadd(work.value(sums[v]), number))
        with work.when(first.compare(">", 0)):
            for v, mask in enumerate(masks):
                before = work.load(out.at(column + v * work.W), mask)
                work.assign(sums[v], work.b.fadd(work.value(sums[v]), before))
        for v, mask in enumerate(masks):
            work.store(work.value(sums[v]), out.at(column + v * work.W), mask)
    work.end()
    kernel = Code(module, sum_symbol(dtype), [JOB], dtype)
    (job,) = kernel.arguments
    g = {name: kernel.given(job, k) for k, name in enumerate(SUM_JOB)}
    blocks = g["columns"].ceil_div(width)
    cost = g["rows"] * g["columns"] * 4
    kernel.call("symrnn_in_threads", work.function, blocks, g["n_threads"], cost, job)
    kernel.end()
    return load(str(module), (sum_symbol(dtype),))[sum_symbol(dtype)]


@cache
def call_sum(dtype: str) -> Callable[[int], None]:
    """Return a function that calls the kernel; its argument is the address of a job."""
    return function_at(load_sum(dtype))


def column_sum(x: np.ndarray) -> np.ndarray:
    """Return the sum of each column.

    Examples
    --------
    >>> column_sum(np.arange(6.0, dtype=np.float32).reshape(3, 2))
    array([6., 9.], dtype=float32)
    """
    if x.size < FEW:
        return np.asarray(np.add.reduce(x, axis=0, dtype=np.float64), x.dtype)
    if x.strides[1] != x.itemsize:
        x = np.ascontiguousarray(x)
    rows, columns = x.shape
    out = np.empty(columns, x.dtype)
    addresses = [a.__array_interface__["data"][0] for a in (x, out)]
    numbers = (n_threads(), rows, columns, addresses[0], x.strides[0] // x.itemsize, addresses[1])
    job = np.array(numbers, np.int64)
    call_sum(str(x.dtype))(job.ctypes.data)
    return out


class ColumnSum(Op):
    """The sum of each column of a matrix."""

    __props__ = ()

    def make_node(self, x: Variable) -> Apply[Any]:
        """Node with one output, a vector."""
        return Apply(self, [x], [x.type.clone(shape=x.type.shape[1:])()])

    def perform(self, node: Apply[Any], inputs: Any, storage: Any) -> None:
        """Call the kernel."""
        storage[0][0] = column_sum(inputs[0])

    def infer_shape(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """Shape, from that of the input, which is the last one of `arguments`."""
        return [arguments[-1][0][1:]]


@node_rewriter([Sum])
def sum_of_columns(fgraph: Any, node: Apply[Any]) -> list[Variable] | None:
    """Replace PyTensor's sum over the first axis of a matrix of float32 numbers."""
    (x,) = node.inputs
    if node.op.axis != (0,) or x.type.ndim != 2 or x.type.dtype != "float32":
        return None
    return [ColumnSum()(x)] if node.outputs[0].type.dtype == "float32" else None
