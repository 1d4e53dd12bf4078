"""Scatter-add: rows of one matrix are added to chosen rows of another.

``pt.inc_subtensor(W[ids], y)`` adds each row of ``y`` to a row of ``W``, and so does the gradient
of an embedding ``W[ids]``. NumPy's ``np.add.at`` needs a dozen times as long as the additions, and
PyTensor's loop for numba makes a new array for each row and does not check that ``W`` has such a
row. In modes QUICK and NUMBA `ScatterAdd` takes their place. The sums are the same.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.tensor import subtensor

from symrnn.kernels.buffers import empty
from symrnn.kernels.machine import function_at, load
from symrnn.kernels.writing import I64, JOB, Array, Code, Int

# the operations with which PyTensor adds whole rows: 3.3 has no class for this alone any more
ADDITIONS = tuple(
    getattr(subtensor, name)
    for name in ("AdvancedIncSubtensor1", "AdvancedIncSubtensor")
    if hasattr(subtensor, name)
)


def scatter_symbol(dtype: str) -> str:
    """Name of the kernel, by which other compiled code may call it."""
    return f"symrnn_scatter_add_{dtype}"


@cache
def load_scatter_add(dtype: str) -> int:
    """Compile the kernel for a dtype; return its address."""
    module, symbol = ir.Module("scatter_add"), scatter_symbol(dtype)
    code = Code(module, symbol, [JOB], dtype)
    (job,) = code.arguments
    n, width, n_ids = (code.given(job, k) for k in range(3))
    matrix, rows = (Array(code, code.pointer(code.given(job, k)), width) for k in (3, 4))
    ids = Array(code, code.pointer(code.given(job, 5), I64))
    whole = width // code.W * code.W
    with code.loop(n_ids) as k:
        i = Int(code, code.b.load(ids.at(k)))
        to, row = matrix[code.select(i.compare("<", 0), i + n, i)], rows[k]

        def add(j: Any, mask: ir.Value | None, to: Array = to, row: Array = row) -> None:
            place = to.at(j)
            total = code.b.fadd(code.load(place, mask), code.load(row.at(j), mask))
            code.store(total, place, mask)

        with code.loop(0, whole, code.W) as j:
            add(j, None)
        with code.when(whole.compare("<", width)):
            add(whole, code.first(width - whole))
    code.end()
    return load(str(module), (symbol,))[symbol]


@cache
def call_scatter_add(dtype: str) -> Callable[[int], None]:
    """Return a function that calls the kernel; its argument is the address of a job."""
    return function_at(load_scatter_add(dtype))


def add_rows(matrix: np.ndarray, rows: np.ndarray, ids: np.ndarray) -> None:
    """Add rows to those of a matrix, which is changed.

    Parameters
    ----------
    matrix, rows, ids
        Shapes ``(n, width)``, ``(n_ids, width)`` and ``(n_ids,)``.

    Raises
    ------
    IndexError
        If the matrix has no such row.
    ValueError
        If there are not as many rows as ids, or they are of another width than the matrix.

    Examples
    --------
    >>> matrix = np.zeros((3, 2))
    >>> add_rows(matrix, np.arange(6.0).reshape(3, 2), np.array([0, 2, 0]))
    >>> matrix
    array([[4., 6.],
           [0., 0.],
           [2., 3.]])
    """
    n, width = matrix.shape
    if rows.shape != (len(ids), width):
        raise ValueError(
            f"there are rows of shape {rows.shape} to be added to a matrix of shape "
            f"{matrix.shape}: there must be as many rows as ids, {len(ids)}, as wide as the matrix"
        )
    if not len(ids):
        return
    lowest, highest = ids.min(), ids.max()
    if lowest < -n or highest >= n:
        wrong = lowest if lowest < -n else highest
        raise IndexError(f"an id, {wrong}, is not the index of a row: the matrix has {n}")
    rows, ids = np.ascontiguousarray(rows), np.ascontiguousarray(ids, np.int64)
    if not matrix.flags.c_contiguous:
        changed = np.ascontiguousarray(matrix)
        add_rows(changed, rows, ids)
        matrix[...] = changed
        return
    addresses = [x.__array_interface__["data"][0] for x in (matrix, rows, ids)]
    job = np.array([n, width, len(ids), *addresses], np.int64)
    call_scatter_add(str(matrix.dtype))(job.ctypes.data)


class ScatterAdd(Op):
    """``W[ids[k]] += y[k]`` for one k after the other.

    Shapes: W ``(n, width)``, y ``(n_ids, width)``, ids ``(n_ids,)``; an id may appear repeatedly.

    Parameters
    ----------
    inplace
        Whether W is changed, instead of a copy of it.
    """

    __props__ = ("inplace",)

    def __init__(self, *, inplace: bool) -> None:
        self.inplace = inplace
        if inplace:
            self.destroy_map = {0: [0]}

    def make_node(self, matrix: Variable, rows: Variable, ids: Variable) -> Apply[Any]:
        """Node with one output, the matrix."""
        return Apply(self, [matrix, rows, ids], [matrix.type()])

    def perform(self, node: Apply[Any], inputs: Any, storage: Any) -> None:
        """Call the kernel."""
        matrix, rows, ids = inputs
        if not self.inplace:
            before, matrix = matrix, empty(matrix.shape, matrix.dtype)
            matrix[...] = before
        add_rows(matrix, rows, ids)
        storage[0][0] = matrix

    def infer_shape(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """Shape, that of the matrix; the shapes of the inputs are the last of `arguments`."""
        return [arguments[-1][0]]


def is_scatter_add(op: Any) -> bool:
    """Whether an operation is PyTensor's scatter-add to rows, ``inc_subtensor(W[ids], y)``."""
    if not isinstance(op, ADDITIONS) or op.set_instead_of_inc:
        return False
    if type(op).__name__ == "AdvancedIncSubtensor1":
        return True
    return bool(op.idx_list == (0,) and not op.ignore_duplicates)


@node_rewriter([*ADDITIONS])
def scatter_add(fgraph: Any, node: Apply[Any]) -> list[Variable] | None:
    """Replace a scatter-add to rows of a matrix by `ScatterAdd`."""
    if not is_scatter_add(node.op):
        return None
    matrix, rows, ids = node.inputs
    dtype = matrix.type.dtype
    if "int" not in ids.type.dtype or ids.type.ndim != 1 or dtype not in ("float32", "float64"):
        return None
    if (matrix.type.ndim, rows.type.ndim) != (2, 2) or 1 in rows.type.shape:
        return None
    if rows.type.dtype != dtype:
        return None
    return [ScatterAdd(inplace=bool(node.op.inplace))(matrix, rows, ids)]
