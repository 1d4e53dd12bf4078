import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad

from symrnn.nn.cells import Cell, GRUCell, HiddenState, LinearCell, LSTMCell
from symrnn.nn.recurrent import unroll

T, B, D, H = 5, 3, 2, 4


def numpy_loop(x, h, W_x, W_h, b):
    outputs = []
    for x_t in x:
        h = x_t @ W_x + h @ W_h + b
        outputs.append(h)
    return np.stack(outputs)


def numpy_gradient(x, h0, W_x, W_h, b, d_outputs):
    """Gradients of sum(outputs * d_outputs), derived by hand."""
    h = [h0, *numpy_loop(x, h0, W_x, W_h, b)]
    d_x, d_Wx, d_Wh, d_b = np.zeros_like(x), 0.0, 0.0, 0.0
    d_h = np.zeros_like(h0)
    for step in range(len(x) - 1, -1, -1):
        d_h = d_h + d_outputs[step]
        d_x[step] = d_h @ W_x.T
        d_Wx = d_Wx + x[step].T @ d_h
        d_Wh = d_Wh + h[step].T @ d_h
        d_b = d_b + d_h.sum(axis=0)
        d_h = d_h @ W_h.T
    return d_x, d_h, d_Wx, d_Wh, d_b


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def cell(rng):
    cell = LinearCell(D, H, rng=rng)
    for p in cell.params:
        p.set_value(rng.normal(size=p.get_value().shape) * 0.5)
    return cell


def weights(cell):
    return [p.get_value() for p in cell.params]


MODES = ["FAST_COMPILE", "CVM", pytest.param("NUMBA", marks=pytest.mark.numba)]


@pytest.mark.parametrize("mode", MODES)
def test_outputs_and_gradients_equal_a_numpy_loop(cell, rng, mode):
    x, h0, d = pt.tensor3("x"), pt.matrix("h0"), rng.normal(size=(T, B, H))
    outputs, state = unroll(cell, x, initial_state=(h0,))
    wrt = [x, h0, *cell.params]
    function = pytensor.function(
        [x, h0], [outputs, state.h, *pytensor.grad((outputs * d).sum(), wrt)], mode=mode
    )
    xv, hv = rng.normal(size=(T, B, D)), rng.normal(size=(B, H))
    got_outputs, got_state, *gradients = function(xv, hv)
    np.testing.assert_allclose(got_outputs, numpy_loop(xv, hv, *weights(cell)), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(got_state, got_outputs[-1])
    for got, expected in zip(gradients, numpy_gradient(xv, hv, *weights(cell), d), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # JAX mode warns that it leaves checks of the input out
def test_jax_mode_gives_the_same_where_sizes_are_static(cell, rng):
    pytest.importorskip("jax")
    x = pt.tensor("x", shape=(T, B, D))
    h0 = pt.tensor("h0", shape=(B, H))
    outputs, _ = unroll(cell, x, initial_state=(h0,))
    wrt = [x, h0, *cell.params]
    wanted = [outputs, *pytensor.grad((outputs**2).sum(), wrt)]
    xv, hv = rng.normal(size=(T, B, D)), rng.normal(size=(B, H))
    by_jax = pytensor.function([x, h0], wanted, mode="JAX")(xv, hv)
    for got, expected in zip(by_jax, pytensor.function([x, h0], wanted)(xv, hv), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


def test_verify_grad_passes(rng):
    x = rng.normal(size=(3, 2, D))

    def final(W_x, W_h, b, h0):
        cell = LinearCell(D, 2, rng=rng)
        cell.W_x, cell.W_h, cell.b = W_x, W_h, b
        return unroll(cell, pt.as_tensor_variable(x), initial_state=(h0,))[1].h

    values = [rng.normal(size=s) for s in ((D, 2), (2, 2), (2,), (2, 2))]
    verify_grad(final, values, rng=rng, mode="FAST_COMPILE")


def test_the_state_starts_at_zero_by_default(cell, rng):
    x = pt.tensor3("x")
    outputs, state = unroll(cell, x)
    assert isinstance(state, HiddenState)
    xv = rng.normal(size=(T, B, D))
    np.testing.assert_allclose(
        pytensor.function([x], outputs)(xv),
        numpy_loop(xv, np.zeros((B, H)), *weights(cell)),
        rtol=0, atol=1e-12,
    )  # fmt: skip


def test_a_sequence_in_two_halves_gives_the_same_states(cell, rng):
    x, h0 = pt.tensor3("x"), pt.matrix("h0")
    function = pytensor.function([x, h0], unroll(cell, x, initial_state=(h0,))[0])
    xv, zero = rng.normal(size=(6, B, D)), np.zeros((B, H))
    first = function(xv[:2], zero)
    second = function(xv[2:], first[-1])
    np.testing.assert_allclose(np.concatenate([first, second]), function(xv, zero), atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1, D), (4, 1, D), (None, 1, D), (1, None, D)])
def test_sizes_of_one_known_in_advance_are_no_trouble(cell, rng, shape):
    x = pt.tensor("x", shape=shape)
    h0 = pt.tensor("h0", shape=(shape[1], H))
    xv = rng.normal(size=[n or 3 for n in shape])
    hv = rng.normal(size=(xv.shape[1], H))
    got = pytensor.function([x, h0], unroll(cell, x, initial_state=(h0,))[0])(xv, hv)
    np.testing.assert_allclose(got, numpy_loop(xv, hv, *weights(cell)), atol=1e-12)


def test_one_unit_and_no_bias_count_bits(rng):
    cell = LinearCell(1, 1, W_x=[[1.0]], W_h=[[1.0]], bias=False)
    x = pt.matrix("x")
    outputs, _ = unroll(cell, x[:, :, None])
    bits = rng.integers(0, 2, size=(7, 5)).astype(float)
    counts = pytensor.function([x], outputs[:, :, 0])(bits)
    np.testing.assert_array_equal(counts, bits.cumsum(axis=0))
    assert [p.name for p in cell.params] == ["W_x", "W_h"]


@pytest.mark.numba
@pytest.mark.parametrize("mode", ["FAST_COMPILE", "NUMBA"])
def test_two_like_scans_compiled_together_equal_the_two_apart(rng, mode):
    """PyTensor 3.0 merges like scans wrongly under numba if a state is a bare input slice."""
    cells = [LinearCell(D, H, rng=rng, bias=False), LinearCell(D, H, rng=rng, bias=False)]
    x = pt.tensor3("x")
    outputs = [unroll(cell, x)[0] for cell in cells]
    xv = rng.normal(size=(T, B, D))
    together = pytensor.function([x], outputs, mode=mode)(xv)
    for got, cell in zip(together, cells, strict=True):
        expected = numpy_loop(xv, np.zeros((B, H)), *weights(cell), 0.0)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_float32_stays_float32(rng):
    with pytensor.config.change_flags(floatX="float32"):
        cell = LinearCell(D, H, rng=rng)
        x = pt.tensor3("x")
        outputs, state = unroll(cell, x)
    assert (x.dtype, outputs.dtype, state.h.dtype) == ("float32",) * 3


@pytest.mark.parametrize("floatX", ["float32", "float64"])
@pytest.mark.parametrize("of_weights", ["float32", "float64"])
def test_the_weights_dtype_decides(rng, floatX, of_weights):
    with pytensor.config.change_flags(floatX=of_weights):
        cell = LinearCell(D, H, rng=rng)
    with pytensor.config.change_flags(floatX=floatX):
        for x in (pt.ftensor3("x"), pt.dtensor3("x")):
            for start in (None, (pt.fmatrix("h0"),), (pt.dmatrix("h0"),)):
                outputs, state = unroll(cell, x, initial_state=start)
                assert (outputs.dtype, state.h.dtype) == (of_weights, of_weights)


class LeakyCell(Cell):
    """A cell as a user writes it, with two gates: ``h <- h + sigmoid(z_1) (z_2 - h)``."""

    n_gates = 2
    State = HiddenState

    def step(self, z, h):
        return HiddenState(h + pt.sigmoid(z[0]) * (z[1] - h))


def test_a_cell_with_two_gates_gets_each_of_them(rng):
    cell, x = LeakyCell(D, H, rng=rng), pt.tensor3("x")
    outputs, _ = unroll(cell, x)
    xv, h, expected = rng.normal(size=(T, B, D)), np.zeros((B, H)), []
    for x_t in xv:
        z = x_t @ cell.W_x.get_value() + h @ cell.W_h.get_value()
        h = h + 1 / (1 + np.exp(-z[:, :H])) * (z[:, H:] - h)
        expected.append(h)
    np.testing.assert_allclose(pytensor.function([x], outputs)(xv), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (pt.matrix("x"), ValueError, r"x has 2 axes.*\(time, batch, features\).*x\[:, :, None\]"),
        (pt.ltensor3("x"), TypeError, r"x has dtype int64.*x\.astype"),
    ],
)
def test_input_of_the_wrong_kind_is_refused_while_the_graph_is_built(cell, x, error, message):
    with pytest.raises(error, match=message):
        unroll(cell, x)


@pytest.mark.parametrize("mode", MODES)
def test_input_of_the_wrong_size_is_refused_when_called(cell, mode):
    x = pt.tensor3("x")
    function = pytensor.function([x], unroll(cell, x)[1].h, mode=mode)
    for shape in ((0, B, D), (T, 0, D), (T, B, D + 1)):
        with pytest.raises(ValueError, match="at least one step in time and one sample"):
            function(np.ones(shape))


def test_cell_and_input_in_the_wrong_order_are_refused(cell):
    with pytest.raises(TypeError, match=r"not a cell.*write unroll\(cell, x\)"):
        unroll(pt.tensor3("x"), cell)


def test_initial_states_that_do_not_fit_are_refused(cell):
    x, h0 = pt.tensor3("x"), pt.matrix("h0")
    with pytest.raises(TypeError, match=r"a single array h is \(h,\)"):
        unroll(cell, x, initial_state=h0)
    with pytest.raises(ValueError, match=r"a tuple like HiddenState\(h\)"):
        unroll(cell, x, initial_state=(h0, h0))
    with pytest.raises(ValueError, match=r"h has shape \(None, None, None\), but must"):
        unroll(cell, x, initial_state=(pt.tensor3("h0"),))
    function = pytensor.function([x, h0], unroll(cell, x, initial_state=(h0,))[0])
    for shape in ((B + 1, H), (B, H - 1), (1, H)):
        with pytest.raises(ValueError, match=r"is not \(batch, n_hidden\)"):
            function(np.ones((T, B, D)), np.ones(shape))


def test_only_the_forget_gate_has_a_bias_of_1_at_first(rng):
    for gates, expected in (("ifo", [0, 1, 0, 0]), ("fo", [1, 0, 0]), ("if", [0, 1, 0])):
        b = LSTMCell(2, 3, rng=rng, gates=gates).b.get_value()
        assert b.reshape(-1, 3).tolist() == [[value] * 3 for value in expected]
    assert not LSTMCell(2, 3, rng=rng, gates="io").b.get_value().any()
    assert LSTMCell(2, 3, rng=rng, bias=False).b is None


def test_cells_refuse_weights_of_another_shape(rng):
    with pytest.raises(ValueError, match=r"W_x has shape \(2, 4\)"):
        LinearCell(2, 4, rng=rng, W_x=np.ones((4, 2)))
    with pytest.raises(ValueError, match="must be a whole number, at least 1"):
        LinearCell(2, 0, rng=rng)
    with pytest.raises(ValueError, match="needs a generator: rng="):
        LinearCell(2, 4)


@pytest.mark.parametrize(("kind", "n_gates"), [(LSTMCell, 4), (GRUCell, 3)])
def test_the_weights_of_each_gate_are_drawn_by_themselves(rng, kind, n_gates):
    """The scale of an initializer is that of one gate's sizes, and each gate is orthogonal."""
    cell = kind(30, 20, rng=rng)
    bound = np.sqrt(6 / (30 + 20))
    for W_x, W_h in zip(
        np.split(cell.W_x.get_value(), n_gates, axis=1),
        np.split(cell.W_h.get_value(), n_gates, axis=1),
        strict=True,
    ):
        assert 0.98 * bound < abs(W_x).max() <= bound
        np.testing.assert_allclose(W_h.T @ W_h, np.eye(20), atol=1e-12)
