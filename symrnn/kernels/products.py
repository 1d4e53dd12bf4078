"""Products of transposed matrices in mode NUMBA, without writing the transpose out.

BLAS multiplies with ``x.T`` as fast as with ``x``. But for numba the transpose of an array is one
of unknown layout, and it copies such an array before each product. The gradient of every ``x @ W``
has two such products, and attention has some for each row of the batch. When a function is compiled
in mode NUMBA, `Product` takes their place; all other modes see the ordinary graph.
"""

from hashlib import sha256
from typing import Any

import numpy as np
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.blas import BatchedDot
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.math import Dot


class Product(Op):
    """``x @ y`` of two matrices, or of two batches of them, each of which may be transposed first.

    Parameters
    ----------
    transposed
        For `x` and for `y`, whether its last two axes are exchanged.
    """

    __props__ = ("transposed",)

    def __init__(self, transposed: tuple[bool, bool]) -> None:
        self.transposed = transposed

    def make_node(self, x: Variable, y: Variable) -> Apply[Any]:
        """Node with one output, of as many axes as `x` and `y`."""
        x_t, y_t = self.transposed
        rows, columns = x.type.shape[-1 if x_t else -2], y.type.shape[-2 if y_t else -1]
        return Apply(self, [x, y], [x.type.clone(shape=(*x.type.shape[:-2], rows, columns))()])

    def perform(self, node: Apply[Any], inputs: Any, storage: Any) -> None:
        """Compute it in NumPy."""
        pairs = zip(inputs, self.transposed, strict=True)
        x, y = (np.swapaxes(v, -1, -2) if exchanged else v for v, exchanged in pairs)
        storage[0][0] = np.matmul(x, y)


@node_rewriter([Dot, BatchedDot])
def product_of_transposed(fgraph: Any, node: Apply[Any]) -> list[Variable] | None:
    """Replace a product by a `Product`, if an operand is the transpose of something."""
    x, y = node.inputs
    dtype = node.outputs[0].type.dtype
    if x.type.ndim < 2 or y.type.ndim < 2 or not x.type.dtype == y.type.dtype == dtype:
        return None
    (x, x_t), (y, y_t) = _as_transposed(x), _as_transposed(y)
    if not dtype.startswith("float") or not (x_t or y_t or isinstance(node.op, BatchedDot)):
        return None
    _register_with_numba()
    return [Product((x_t, y_t))(x, y)]


def _as_transposed(v: Variable) -> tuple[Variable, bool]:
    """`v`, or what `v` is the transpose of, whose rows then lie together in memory."""
    order = list(getattr(v.owner and v.owner.op, "new_order", ()))
    if not isinstance(v.owner and v.owner.op, DimShuffle) or order[-2:-1] != [len(order) - 1]:
        return v, False
    base = v.owner.inputs[0]
    if base.type.ndim != len(order) or "x" in order:
        return v, False
    order[-2:] = order[:-3:-1]
    return (base if order == sorted(order) else base.dimshuffle(order)), True


# after all rewriting that knows Dot, before operations that overwrite their inputs
optdb.register(
    "symrnn_product_of_transposed", dfs_rewriter(product_of_transposed), "numba", position=48.5
)


def _register_with_numba() -> None:
    """Tell numba how to compile a `Product`; the first one that is met does it."""
    from pytensor.link.numba.dispatch import basic  # takes long to import

    if Product in basic.numba_funcify_and_cache_key.registry:
        return
    njit = basic.numba_njit

    @basic.register_funcify_and_cache_key(Product)
    def funcify_product(op: Product, node: Apply[Any], **kwargs: Any) -> tuple[Any, str]:
        x_t, y_t = op.transposed
        n_axes = node.outputs[0].type.ndim

        @njit
        def product(x: Any, y: Any) -> Any:
            return np.dot(x.T if x_t else x, y.T if y_t else y)

        @njit
        def products(x: Any, y: Any) -> Any:
            if x.shape[0] != y.shape[0]:
                raise ValueError("a batched product needs as many matrices on both sides")
            x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
            m, n = x.shape[2 if x_t else 1], y.shape[1 if y_t else 2]
            out = np.empty((x.shape[0], m, n), x.dtype)
            for k in range(len(out)):
                np.dot(x[k].T if x_t else x[k], y[k].T if y_t else y[k], out[k])
            return out

        key = f"symrnn.kernels.products 1: {op.transposed} {n_axes}"
        return product if n_axes == 2 else products, sha256(key.encode()).hexdigest()
