import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.compiling.modes import QUICK
from symrnn.kernels import calls
from symrnn.kernels.products import Product
from symrnn.nn.layers import Dense

x, y = pt.dmatrix("x"), pt.dmatrix("y")
a, b = pt.dtensor3("a"), pt.dtensor3("b")
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
MODES = [pytest.param(QUICK, id="QUICK"), pytest.param("NUMBA", marks=pytest.mark.numba)]


def products_in(f):
    return [n for n in f.maker.fgraph.apply_nodes if isinstance(n.op, Product)]


@pytest.fixture(autouse=True)
def _small_products_by_the_kernel_too(monkeypatch):
    monkeypatch.setattr(calls, "FEW", 0)


@pytest.mark.parametrize("mode", MODES)
def test_products_are_those_of_other_modes(mode):
    rng = np.random.default_rng(1)
    values = [rng.normal(size=shape) for shape in ((5, 3), (5, 2), (4, 4, 4), (4, 4, 4))]
    ours = pytensor.function([x, y, a, b], PRODUCTS, mode=mode)
    others = pytensor.function([x, y, a, b], PRODUCTS, mode="FAST_COMPILE")
    assert len(products_in(ours)) == 9
    assert not products_in(others)
    for one, other in zip(ours(*values), others(*values), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_a_dense_layer_and_its_gradient_are_three_products_of_which_one_adds_the_bias(mode):
    x = pt.dtensor3("x")
    dense = Dense(3, 2, rng=np.random.default_rng(1))
    dense.b.set_value(np.array([3.0, -4.0], dense.b.dtype))
    z = dense(x)
    gradients = pytensor.grad((z**2).sum(), [x, *dense.params])
    ours = pytensor.function([x], [z, *gradients], mode=mode)
    assert sorted(len(n.inputs) for n in products_in(ours)) == [2, 2, 3]
    value = np.random.default_rng(2).normal(size=(4, 3, 3))
    other = pytensor.function([x], [z, *gradients], mode="FAST_COMPILE")(value)
    for one, expected in zip(ours(value), other, strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
def test_batches_of_different_length_are_refused(mode):
    product = pytensor.function([a, b], pt.matmul(a, b.transpose(0, 2, 1)), mode=mode)
    with pytest.raises(ValueError, match=r"shapes|as many"):
        product(np.ones((2, 3, 3)), np.ones((3, 3, 3)))


def test_a_batch_times_one_matrix_for_all_is_left_to_pytensor():
    one = pt.tensor("one", dtype="float64", shape=(1, None, None))
    f = pytensor.function([a, one], pt.matmul(a, one), mode=QUICK)
    assert not products_in(f)
    values = np.random.default_rng(1).normal(size=(3, 2, 4)), np.ones((1, 4, 5))
    np.testing.assert_allclose(f(*values), np.matmul(*values), atol=1e-13)


def test_a_product_that_is_also_asked_for_is_not_merged_with_its_bias():
    v = pt.dvector("v")
    z = x @ y
    f = pytensor.function([x, y, v], [z, z + v], mode=QUICK)
    values = np.ones((2, 3)), np.ones((3, 4)), np.arange(4.0)
    plain, added = f(*values)
    np.testing.assert_array_equal(plain, np.full((2, 4), 3.0))
    np.testing.assert_array_equal(added, 3 + np.broadcast_to(np.arange(4.0), (2, 4)))
