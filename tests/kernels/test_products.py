import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.kernels.products import Product
from symrnn.nn.layers import Dense

x, y = pt.matrix("x"), pt.matrix("y")
a, b = pt.tensor3("a"), pt.tensor3("b")
PRODUCTS = [
    x.T @ y,
    (y.T @ x) @ x.T,
    x @ x.T,
    (x[:4] @ y[1:4]).T,
    pt.matmul(a, b),
    pt.matmul(a.transpose(1, 0, 2), b.transpose(1, 2, 0)),
    pt.matmul(a.transpose(1, 2, 0), b.transpose(1, 0, 2)),
    pt.matmul(a.transpose(2, 0, 1), b.transpose(0, 2, 1)),
]


@pytest.mark.numba
def test_products_of_transposed_are_those_of_other_modes():
    rng = np.random.default_rng(1)
    values = [rng.normal(size=shape) for shape in ((5, 3), (5, 2), (4, 4, 4), (4, 4, 4))]
    ours = pytensor.function([x, y, a, b], PRODUCTS, mode="NUMBA")
    others = pytensor.function([x, y, a, b], PRODUCTS, mode="FAST_COMPILE")
    assert sum(isinstance(n.op, Product) for n in ours.maker.fgraph.apply_nodes) >= 8
    assert not any(isinstance(n.op, Product) for n in others.maker.fgraph.apply_nodes)
    for one, other in zip(ours(*values), others(*values), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


@pytest.mark.numba
def test_the_gradient_of_a_dense_layer_copies_no_transpose():
    x = pt.tensor3("x")
    dense = Dense(3, 2, rng=np.random.default_rng(1))
    loss = (dense(x) ** 2).sum()
    gradients = pytensor.grad(loss, [x, *dense.params])
    ours = pytensor.function([x], gradients, mode="NUMBA")
    kinds = [n.op.transposed for n in ours.maker.fgraph.apply_nodes if isinstance(n.op, Product)]
    assert sorted(kinds) == [(False, True), (True, False)]
    value = np.random.default_rng(2).normal(size=(4, 3, 3))
    for one, other in zip(
        ours(value), pytensor.function([x], gradients, mode="FAST_COMPILE")(value), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-13)


@pytest.mark.numba
def test_batches_of_different_length_are_refused():
    product = pytensor.function([a, b], pt.matmul(a, b.transpose(0, 2, 1)), mode="NUMBA")
    with pytest.raises(ValueError, match="as many matrices"):
        product(np.ones((2, 3, 3)), np.ones((3, 3, 3)))
