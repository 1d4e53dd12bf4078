import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.kernels.fusion import RowLoop, UnknownOperationError, fuse, loop_source


def expressions():
    """Two inputs and expressions of them that use every kind of output."""
    z, c = pt.tensor("z", shape=(2, None), dtype="float64"), pt.vector("c", dtype="float64")
    a, b = z[0], z[1]
    single = pt.switch(pt.gt(a, 0), pt.sigmoid(a) * c, pt.exp(-(b**2)) - c / 2)
    rows = [pt.tanh(a) + 1, pt.maximum(b, 0) * a, pt.sqrt(pt.abs(c))]
    return [z, c], [single, pt.stack(rows), c]


def numpy_expressions(z, c):
    a, b = z
    single = np.where(a > 0, c / (1 + np.exp(-a)), np.exp(-(b**2)) - c / 2)
    return [single, np.stack([np.tanh(a) + 1, np.maximum(b, 0) * a, np.sqrt(np.abs(c))]), c]


@pytest.mark.parametrize("mode", ["FAST_COMPILE", pytest.param("NUMBA", marks=pytest.mark.numba)])
def test_fused_expressions_equal_numpy(mode):
    inputs, outputs = expressions()
    values = [v.type() for v in inputs]
    f = pytensor.function(values, fuse(inputs, outputs, values), mode=mode)
    in_one_loop = [isinstance(node.op, RowLoop) for node in f.maker.fgraph.apply_nodes]
    assert any(in_one_loop) == (mode == "NUMBA")
    rng = np.random.default_rng(0)
    z, c = rng.normal(size=(2, 50)), rng.normal(size=50)
    for got, expected in zip(f(z, c), numpy_expressions(z, c), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14)


def test_the_loop_in_python_equals_numpy():
    inputs, outputs = expressions()
    names = {"np": np}
    exec(loop_source(inputs, outputs), names)
    z, c = np.random.default_rng(1).normal(size=(2, 7)), np.linspace(-1, 1, 7)
    for got, expected in zip(names["row_loop"](z, c), numpy_expressions(z, c), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14)


def test_tanh_and_sigmoid_in_float32_are_accurate_and_show_what_is_not_finite():
    x = pt.fvector("x")
    names = {"np": np}
    exec(loop_source([x], [pt.tanh(x), pt.sigmoid(x)]), names)
    value = np.concatenate([np.linspace(-30, 30, 2001), [0, 1e-20, np.inf, -np.inf]]).astype("f")
    tanh, sigmoid = names["row_loop"](value)
    exact = value.astype("float64")
    assert np.abs(tanh - np.tanh(exact)).max() < 3e-7
    with np.errstate(over="ignore"):
        assert np.abs(sigmoid - 1 / (1 + np.exp(-exact))).max() < 3e-7
    assert np.isnan(names["row_loop"](np.array([np.nan], "f"))).all()


def test_tanh_in_float64_is_accurate_to_the_last_digits():
    x = pt.dvector("x")
    names = {"np": np}
    exec(loop_source([x], [pt.tanh(x)]), names)
    value = np.concatenate([np.linspace(-25, 25, 20001), [1e-300, -1e-8, 1e-3, np.inf, -np.inf]])
    np.testing.assert_allclose(names["row_loop"](value), np.tanh(value), rtol=2e-15, atol=0)
    assert np.isnan(names["row_loop"](np.array([np.nan]))).all()


@pytest.mark.numba
def test_not_a_number_stays_one_in_mode_numba():
    x = pt.fvector("x")
    value = x.type()
    results = [pt.tanh(x), pt.sigmoid(x), pt.maximum(0, x), pt.minimum(x, 1), pt.clip(x, 0, 1)]
    f = pytensor.function([value], fuse([x], results, [value]), mode="NUMBA")
    for y in f(np.array([np.nan, 0, 50, -50] * 9, dtype="float32")):
        assert np.isnan(y[::4]).all()
        assert np.isfinite(y[1::4]).all()


def test_operations_without_words_are_left_to_pytensor():
    x = pt.dvector("x")
    for unknown in (pt.erf(x), pt.log(x), pt.cast(x, "int8") / 2, pt.gt(x, 0) + pt.lt(x, 1)):
        with pytest.raises(UnknownOperationError):
            loop_source([x], [unknown])
    value = x.type()
    f = pytensor.function([value], fuse([x], [pt.erf(x)], [value]))
    np.testing.assert_allclose(f([0.0, 10.0])[0], [0, 1], atol=1e-12)
