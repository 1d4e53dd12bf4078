"""Products of transposed matrices in mode NUMBA, without copies of the transposes.

BLAS multiplies with ``x.T`` as fast as with ``x``. But numba does not know how the numbers of a
transposed array lie in memory, so it copies such an array before each product. The gradients of
every ``y = x @ W`` are two such products, ``x.T @ dy`` and ``dy @ W.T``, and attention has some for
each sample of the batch. When a function is compiled in mode NUMBA, `Product` takes their place: it
takes ``x`` itself and transposes it where numba sees that it does so. All other modes see the
ordinary graph.
"""

from hashlib import sha256
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.tensor.blas import BatchedDot
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.math import Dot

from symrnn.kernels.dispatch import compile_with_numba, numba_basic


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
    compile_with_numba(Product, funcify_product)
    return [Product((x_t, y_t))(x, y)]


def _as_transposed(v: Variable) -> tuple[Variable, bool]:
    """Return what `v` is the transpose of, and True; or `v` itself, and False.

    Axes before the last two may be permuted too: that permutation stays.
    """
    order = list(getattr(v.owner and v.owner.op, "new_order", ()))
    if not isinstance(v.owner and v.owner.op, DimShuffle) or order[-2:-1] != [len(order) - 1]:
        return v, False
    base = v.owner.inputs[0]
    if base.type.ndim != len(order) or "x" in order:
        return v, False
    order[-2:] = order[:-3:-1]
    return (base if order == sorted(order) else base.dimshuffle(order)), True


def funcify_product(op: Product, node: Apply[Any], **kwargs: Any) -> tuple[Any, str]:
    """Return a `Product` as a function compiled by numba, and the key of its code on disk."""
    njit = numba_basic().numba_njit
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
