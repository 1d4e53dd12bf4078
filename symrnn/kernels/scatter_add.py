"""Rows that are added to rows of a matrix, in mode NUMBA, as a plain loop over their numbers.

``pt.inc_subtensor(W[ids], y)`` and the gradient of ``W[ids]`` add each row of y to a row of W.
PyTensor's loop for numba makes an array for each row, which takes several times as long as to add
it, and does not look whether there is such a row. When a function is compiled in mode NUMBA,
`AddRows` takes its place; all other modes see the ordinary graph. The sums are the same.
"""

from hashlib import sha256
from typing import Any

import numpy as np
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor import subtensor

# how PyTensor adds whole rows: since 3.3 there is no class for this alone
ADDITIONS = tuple(
    getattr(subtensor, name)
    for name in ("AdvancedIncSubtensor1", "AdvancedIncSubtensor")
    if hasattr(subtensor, name)
)


class AddRows(Op):
    """``W[ids[k]] += y[k]`` for one k after the other; W is changed in place."""

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


def adds_rows(op: Any) -> bool:
    """Whether an operation adds to rows of an array, ``inc_subtensor(W[ids], y)``."""
    if not isinstance(op, ADDITIONS) or op.set_instead_of_inc:
        return False
    if type(op).__name__ == "AdvancedIncSubtensor1":
        return True
    return bool(op.idx_list == (0,) and not op.ignore_duplicates)


@node_rewriter([*ADDITIONS])
def add_rows(fgraph: Any, node: Apply[Any]) -> list[Variable] | None:
    """Replace an addition in place of whole rows."""
    if not adds_rows(node.op) or not node.op.inplace:
        return None
    matrix, rows, ids = node.inputs
    if ids.type.dtype != "int64" or ids.type.ndim != 1:
        return None
    if (matrix.type.ndim, rows.type.ndim) != (2, 2) or 1 in rows.type.shape:
        return None
    if rows.type.dtype != matrix.type.dtype:
        return None
    _register_with_numba()
    return [AddRows()(matrix, rows, ids)]


# after the rewriting that decides what is changed in place
optdb.register("symrnn_add_rows", dfs_rewriter(add_rows), "numba", position=90)


def _register_with_numba() -> None:
    """Tell numba how to compile `AddRows`; the first one that is met does it."""
    from pytensor.link.numba.dispatch import basic  # takes long to import

    if AddRows in basic.numba_funcify_and_cache_key.registry:
        return
    njit = basic.numba_njit

    @basic.register_funcify_and_cache_key(AddRows)
    def funcify_add_rows(op: AddRows, node: Apply[Any], **kwargs: Any) -> tuple[Any, str]:
        @njit
        def add_rows(matrix: Any, rows: Any, ids: Any) -> Any:
            n, width = matrix.shape
            if len(rows) != len(ids) or rows.shape[1] != width:
                raise ValueError("there must be as many rows as ids, as wide as the matrix")
            for k in range(len(ids)):
                i = ids[k]
                if i < 0:
                    i += n
                if i < 0 or i >= n:
                    raise IndexError("an id is not the number of a row")
                for j in range(width):
                    matrix[i, j] += rows[k, j]
            return matrix

        return add_rows, sha256(b"symrnn.kernels.scatter_add 1").hexdigest()
