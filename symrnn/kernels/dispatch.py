"""Kernels in mode NUMBA: each operation as a function that numba compiles, and calls the kernel.

The function makes the arrays and the job, as `symrnn.kernels.calls` does in Python. The kernel is
known to numba by its symbol, a name, so the code that numba keeps on disk holds no address.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply

from symrnn.compiling.allocator import keep_freed_memory
from symrnn.kernels.calls import spare
from symrnn.kernels.loop import Layout, Shape
from symrnn.kernels.machine import n_threads
from symrnn.kernels.product import load_product, panel_width, product_symbol, scratch_size
from symrnn.kernels.products import Product
from symrnn.kernels.recurrence import LoopOp, Recurrence, RecurrenceGradient
from symrnn.kernels.scatter_add import ScatterAdd
from symrnn.kernels.sums import ColumnSum, load_sum, sum_symbol


def numba_basic() -> Any:
    """Return PyTensor's module for numba; it takes long to import, so only mode NUMBA does."""
    from pytensor.link.numba.dispatch import basic

    return basic


def compile_with_numba(op_type: type, funcify: Callable[..., tuple[Any, str]]) -> None:
    """Have numba compile the operations of a type; the second time for one type does nothing.

    Parameters
    ----------
    op_type
        A subclass of PyTensor's `Op`.
    funcify
        Given the operation, and ``node=`` where it is used, returns a function compiled by numba
        and the key under which its code is kept on disk.
    """
    basic = numba_basic()
    if op_type not in basic.numba_funcify_and_cache_key.registry:
        basic.register_funcify_and_cache_key(op_type)(funcify)


def register_kernels() -> None:
    """Have numba call the kernels of all operations of this room.

    Numba allocates all arrays of a function anew at each call, so the allocator had better keep
    their memory.
    """
    keep_freed_memory()
    compile_with_numba(Product, funcify_product)
    compile_with_numba(ColumnSum, funcify_sum)
    compile_with_numba(ScatterAdd, funcify_scatter_add)
    compile_with_numba(Recurrence, funcify_loop)
    compile_with_numba(RecurrenceGradient, funcify_loop)


def compiled(lines: Sequence[str], symbol: str) -> tuple[Any, str]:
    """Return a function of these lines, in which ``kernel(address of a job)`` calls a kernel."""
    from numba import types

    source = "\n".join(lines)
    kernel = types.ExternalFunction(symbol, types.void(types.uintp))
    names = {"np": np, "kernel": kernel}
    exec(source, names)
    function = numba_basic().numba_njit(names["call"], boundscheck=False)
    return function, sha256(f"symrnn {symbol} {source}".encode()).hexdigest()


def lines_of_job(numbers: Sequence[str], arrays: Sequence[str]) -> list[str]:
    """Return lines that call the kernel with a job.

    The last one uses all arrays: without it numba would free them before the kernel is called.
    """
    return [
        f"    job = np.empty({len(numbers)}, np.int64)",
        *(f"    job[{k}] = {number}" for k, number in enumerate(numbers)),
        "    kernel(job.ctypes.data)",
        f"    job[0] = {' + '.join(f'{a}.size' for a in arrays)}",
    ]


def funcify_product(op: Product, node: Apply[Any], **kwargs: Any) -> tuple[Any, str]:
    """Return a `Product` as a function compiled by numba, and the key of its code on disk."""
    dtype, has_add = node.outputs[0].type.dtype, len(node.inputs) == 3
    batched = node.outputs[0].type.ndim == 3
    load_product(dtype)
    size = np.dtype(dtype).itemsize
    names = ["x", "y", *(["b"] if has_add else [])]
    sizes = "batch, rows, depth" if batched else "rows, depth"
    fits = "y.shape[0] != batch or y.shape[1] != depth" if batched else "y.shape[0] != depth"
    fits += " or b.shape[0] != columns" if has_add else ""
    room = scratch_size(dtype, n_threads()) + spare(dtype)

    def array(name: str) -> list[str]:
        strides = [f"{name}.strides[{k}] // {size}" for k in range(3 if batched else 2)]
        return [f"{name}.ctypes.data", *([] if batched else ["0"]), *strides]

    return compiled(
        [
            f"def call({', '.join(names)}):",
            *(["    b = np.ascontiguousarray(b)"] if has_add else []),
            f"    {sizes} = x.shape",
            f"    columns = y.shape[{2 if batched else 1}]",
            f"    if {fits}:",
            "        raise ValueError('shapes do not fit for a product')",
            f"    out = np.empty(({'batch, ' if batched else ''}rows, columns), np.{dtype})",
            "    if depth == 0:",
            f"        out[...] = {'b' if has_add else '0'}",
            "        return out",
            f"    scratch = np.empty({room}, np.{dtype})",
            *lines_of_job(
                [
                    *(str(n_threads()), "batch" if batched else "1", "rows", "columns", "depth"),
                    *(*array("x"), *array("y"), "b.ctypes.data" if has_add else "0", "0"),
                    *("out.ctypes.data", "scratch.ctypes.data"),
                ],
                [*names, "scratch"],
            ),
            "    return out",
        ],
        product_symbol(dtype),
    )


def funcify_sum(op: ColumnSum, node: Apply[Any], **kwargs: Any) -> tuple[Any, str]:
    """Return a `ColumnSum` as a function compiled by numba, and the key of its code on disk."""
    dtype = node.outputs[0].type.dtype
    load_sum(dtype)
    numbers = [str(n_threads()), "rows", "columns", "x.ctypes.data", "columns", "out.ctypes.data"]
    return compiled(
        [
            "def call(x):",
            "    x = np.ascontiguousarray(x)",
            "    rows, columns = x.shape",
            f"    out = np.zeros(columns, np.{dtype})",
            *lines_of_job(numbers, ["x"]),
            "    return out",
        ],
        sum_symbol(dtype),
    )


def funcify_scatter_add(op: ScatterAdd, **kwargs: Any) -> tuple[Any, str]:
    """Return a `ScatterAdd` as a function compiled by numba, and the key of its code on disk.

    It needs no kernel: a plain loop is as fast, and takes a matrix in any memory layout.
    """
    inplace = op.inplace

    @numba_basic().numba_njit
    def scatter_add(matrix: Any, rows: Any, ids: Any) -> Any:
        n, width = matrix.shape
        if rows.shape != (len(ids), width):
            raise ValueError("there must be as many rows as ids, as wide as the matrix")
        for i in ids:
            if i < -n or i >= n:
                raise IndexError("an id is not the index of a row")
        changed = matrix if inplace else matrix.copy()
        for k in range(len(ids)):
            i = ids[k] + n if ids[k] < 0 else ids[k]
            for j in range(width):
                changed[i, j] += rows[k, j]
        return changed

    return scatter_add, sha256(f"symrnn.kernels.scatter_add 3 {inplace}".encode()).hexdigest()


def funcify_loop(op: LoopOp, node: Apply[Any], **kwargs: Any) -> tuple[Any, str]:
    """Return a loop as a function compiled by numba, and the key of its code on disk."""
    kernel, dtype = op.kernel(node), node.outputs[0].type.dtype
    layout = kernel.layout
    first = "zx" if "zx" in layout.inputs else "state0"
    made = {**layout.outputs, **layout.working}
    numbers = {"n_threads": str(n_threads()), **{s: s for s in ("time", "batch", "n_hidden")}}
    returned = op.results_in_numba([*layout.outputs])
    sizes = {"panels": panels_size_in_numba(layout, dtype)}
    sizes["scratch"] = str(scratch_size(dtype, n_threads()) + spare(dtype))
    return compiled(
        [
            f"def call({', '.join(layout.inputs)}):",
            f"    time, batch = {first}.shape[:2]",
            "    n_hidden, one = W_h.shape[0], 1",
            "    if time == 0 or batch == 0:",
            "        raise ValueError('a recurrent layer needs at least one step and one sample')",
            *(
                line
                for name, shape in layout.inputs.items()
                for line in lines_of_check(name, shape_in_numba(shape))
            ),
            *(f"    {n} = np.empty({shape_in_numba(s)}, np.{dtype})" for n, s in made.items()),
            *(
                f"    {name}[...] = {0 if source is None else source}"
                for name, source in layout.initial.items()
            ),
            *(f"    {name} = np.empty({size}, np.{dtype})" for name, size in sizes.items()),
            *lines_of_job(
                [numbers.get(name, f"{name}.ctypes.data") for name in layout.job],
                [*layout.inputs, *made, *sizes],
            ),
            f"    return {', '.join(returned)}",
        ],
        kernel.symbol,
    )


def lines_of_check(name: str, shape: str) -> list[str]:
    """Return lines that make an input contiguous, or refuse it."""
    if name.startswith("mask"):
        return [f"    {name} = np.ascontiguousarray(np.broadcast_to({name}, {shape}))"]
    return [
        f"    if {name}.shape != {shape}:",
        f"        raise ValueError('a recurrent layer got {name} of another shape than {shape}')",
        f"    {name} = np.ascontiguousarray({name})",
    ]


def shape_in_numba(shape: Shape) -> str:
    """Return a shape as an expression of the sizes."""
    return f"({', '.join(f'{factor} * {size}' for factor, size in shape)})"


def panels_size_in_numba(layout: Layout, dtype: str) -> str:
    """Return `panels_size` as an expression of ``n_hidden``."""
    (depth, _), (columns, _) = layout.panels
    width = panel_width(dtype)
    return (
        f"({columns} * n_hidden + {width - 1}) // {width} * {width * depth} * n_hidden"
        f" + {spare(dtype)}"
    )
