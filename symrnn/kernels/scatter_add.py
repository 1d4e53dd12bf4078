"""Scatter-add in mode NUMBA: rows of one matrix are added to chosen rows of another.

``pt.inc_subtensor(W[ids], y)`` adds each row of ``y`` to a row of ``W``, and so does the gradient
of an embedding ``W[ids]``. PyTensor's loop for numba makes a new array for each row, which takes
several times as long as the addition, and it does not check that ``W`` has such a row. When a
function is compiled in mode NUMBA, `ScatterAdd` takes its place, a plain loop over the numbers with
that check; all other modes see the ordinary graph. The sums are the same.
"""

from hashlib import sha256
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.tensor import subtensor

from symrnn.kernels.dispatch import compile_with_numba, numba_basic

# the operations with which PyTensor adds whole rows: 3.3 has no class for this alone any more
ADDITIONS = tuple(
    getattr(subtensor, name)
    for name in ("AdvancedIncSubtensor1", "AdvancedIncSubtensor")
    if hasattr(subtensor, name)
)


class ScatterAdd(Op):
    """``W[ids[k]] += y[k]`` for one k after the other; W is changed in place.

    Shapes: W ``(n, width)``, y ``(n_ids, width)``, ids ``(n_ids,)``; an id may appear repeatedly.
    """

    __props__ = ()
    destroy_map = {0: [0]}  # noqa: RUF012 - as PyTensor has it

    def make_node(self, matrix: Variable, rows: Variable, ids: Variable) -> Apply[Any]:
        """Node with one output, the matrix."""
        return Apply(self, [matrix, rows, ids], [matrix.type()])

    def perform(self, node: Apply[Any], inputs: Any, storage: Any) -> None:
        """Compute it in NumPy."""
        matrix, rows, ids = inputs
        np.add.at(matrix, ids, rows)
        storage[0][0] = matrix


def is_scatter_add(op: Any) -> bool:
    """Whether an operation is PyTensor's scatter-add to rows, ``inc_subtensor(W[ids], y)``."""
    if not isinstance(op, ADDITIONS) or op.set_instead_of_inc:
        return False
    if type(op).__name__ == "AdvancedIncSubtensor1":
        return True
    return bool(op.idx_list == (0,) and not op.ignore_duplicates)


@node_rewriter([*ADDITIONS])
def scatter_add(fgraph: Any, node: Apply[Any]) -> list[Variable] | None:
    """Replace a scatter-add in place to rows of a matrix by `ScatterAdd`."""
    if not is_scatter_add(node.op) or not node.op.inplace:
        return None
    matrix, rows, ids = node.inputs
    if ids.type.dtype != "int64" or ids.type.ndim != 1:
        return None
    if (matrix.type.ndim, rows.type.ndim) != (2, 2) or 1 in rows.type.shape:
        return None
    if rows.type.dtype != matrix.type.dtype:
        return None
    compile_with_numba(ScatterAdd, funcify_scatter_add)
    return [ScatterAdd()(matrix, rows, ids)]


def funcify_scatter_add(op: ScatterAdd, **kwargs: Any) -> tuple[Any, str]:
    """Return `ScatterAdd` as a function compiled by numba, and the key of its code on disk."""

    @numba_basic().numba_njit
    def scatter_add(matrix: Any, rows: Any, ids: Any) -> Any:
        n, width = matrix.shape
        if len(rows) != len(ids) or rows.shape[1] != width:
            raise ValueError("there must be as many rows as ids, as wide as the matrix")
        for k in range(len(ids)):
            i = ids[k]
            if i < 0:
                i += n
            if i < 0 or i >= n:
                raise IndexError("an id is not the index of a row")
            for j in range(width):
                matrix[i, j] += rows[k, j]
        return matrix

    return scatter_add, sha256(b"symrnn.kernels.scatter_add 2").hexdigest()
