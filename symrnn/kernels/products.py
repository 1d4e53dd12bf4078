"""PyTensor's products of matrices, computed by the kernel of `symrnn.kernels.product`.

It is as fast as BLAS. But the threads of BLAS go on waiting actively for some time after each
product, and take the processors from the kernels of the loop, which then need half as much time
again; and BLAS as numba calls it copies a matrix that is transposed. So in a compiled function
there shall be one kind of product.
"""

from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.scalar.basic import Add
from pytensor.tensor.blas import BatchedDot, Dot22
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot

from symrnn.kernels.calls import multiply


class Product(Op):
    """``x @ y`` or ``x @ y + b``, of two matrices or of two batches of them.

    Shapes: x ``(rows, n)``, y ``(n, columns)`` and b ``(columns,)``, or, without b,
    ``(batch, rows, n)`` and ``(batch, n, columns)``.
    """

    __props__ = ()

    def make_node(self, x: Variable, y: Variable, *b: Variable) -> Apply[Any]:
        """Node with one output, of as many axes as `x` and `y`."""
        shape = (*x.type.shape[:-1], y.type.shape[-1])
        return Apply(self, [x, y, *b], [x.type.clone(shape=shape)()])

    def perform(self, node: Apply[Any], inputs: Any, storage: Any) -> None:
        """Call the kernel."""
        storage[0][0] = multiply(*inputs)

    def infer_shape(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """Shape, from those of the inputs, which are the last of `arguments`."""
        x, y, *_ = arguments[-1]
        return [(*x[:-1], y[-1])]


@node_rewriter([Dot, Dot22, BatchedDot, Blockwise])
def product(fgraph: Any, node: Apply[Any]) -> list[Variable] | None:
    """Replace PyTensor's product of two matrices, or of two batches of them."""
    if isinstance(node.op, Blockwise) and not isinstance(node.op.core_op, Dot):
        return None
    x, y = node.inputs
    if x.type.ndim > 3 or x.type.broadcastable[:-2] != y.type.broadcastable[:-2]:
        return None
    dtype = node.outputs[0].type.dtype
    if x.type.ndim != y.type.ndim or x.type.ndim < 2 or dtype not in ("float32", "float64"):
        return None
    if not x.type.dtype == y.type.dtype == dtype:
        return None
    return [Product()(x, y)]


@node_rewriter([Elemwise])
def product_and_bias(fgraph: Any, node: Apply[Any]) -> list[Variable] | None:
    """Replace ``x @ y + b`` with one number of b for each column."""
    if not isinstance(node.op.scalar_op, Add) or len(node.inputs) != 2:
        return None
    for z, b in (node.inputs, node.inputs[::-1]):
        is_product = z.owner is not None and isinstance(z.owner.op, Product)
        if not is_product or len(z.owner.inputs) != 2 or len(fgraph.clients[z]) != 1:
            continue
        is_row = isinstance(b.owner and b.owner.op, DimShuffle) and b.owner.op.new_order == ("x", 0)
        if is_row and z.type.ndim == 2 and b.type.dtype == z.type.dtype:
            (row,) = b.owner.inputs
            if row.type.broadcastable == (z.type.broadcastable[1],):
                return [Product()(*z.owner.inputs, row)]
    return None
