"""Every cell through every way of unrolling: against a NumPy loop, by kernel and by scan."""

import itertools

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import ancestors

from symrnn.compiling.function import function, graph_updates
from symrnn.compiling.modes import QUICK
from symrnn.kernels.recurrence import Recurrence
from symrnn.nn import wrappers
from symrnn.nn.cells import (
    ACTIVATIONS,
    Cell,
    ElmanCell,
    GRUCell,
    HiddenState,
    LinearCell,
    LSTMCell,
    LSTMState,
)
from symrnn.nn.module import Module, parameter
from symrnn.nn.recurrent import bidirectional, stack, unroll
from symrnn.nn.states import CarriedState, learned_initial_state
from symrnn.nn.wrappers import LayerNormalised, VariationalDropout, Zoneout

T, B, D, H = 5, 3, 2, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


PHI = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "sigmoid": sigmoid}
PHI["identity"] = lambda x: x


class MixtureCell(Cell):
    """A user's cell: a vector of its own, two gates, a state that its output is not."""

    n_gates = 2
    State = type("MixtureState", (HiddenState,), {})

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.leak = parameter("leak", (self.n_hidden,), np.linspace(-1, 1, self.n_hidden))

    def step(self, z, h):
        a, g = z
        keep = pt.sigmoid(self.leak) * pt.exp(-(a**2))
        return HiddenState(keep * h + (1 - keep) * pt.softplus(g))


def numpy_step(cell):
    """One step of a cell in NumPy: ``step(x_t, *state) -> state``."""
    p = {w.name.split(".")[-1]: w.get_value() for w in cell.params}
    W_x, W_h, b = p["W_x"], p["W_h"], p.get("b", 0.0)
    n = cell.n_hidden

    def split(z):
        return np.split(z, z.shape[1] // n, axis=1)

    if isinstance(cell, LinearCell):
        return lambda x, h: (x @ W_x + h @ W_h + b,)
    if isinstance(cell, ElmanCell):
        name = next(k for k, v in ACTIVATIONS.items() if v is cell.phi)
        return lambda x, h: (PHI[name](x @ W_x + h @ W_h + b),)
    if isinstance(cell, MixtureCell):

        def mixture(x, h):
            a, g = split(x @ W_x + h @ W_h + b)
            keep = sigmoid(p["leak"]) * np.exp(-(a**2))
            return (keep * h + (1 - keep) * np.log1p(np.exp(g)),)

        return mixture
    if isinstance(cell, GRUCell):

        def gru(x, h):
            (xr, xu, xn), (hr, hu, *hn) = split(x @ W_x + b), split(h @ W_h)
            r, u = sigmoid(xr + hr), sigmoid(xu + hu)
            inner = r * (hn[0] + p.get("b_hn", 0.0)) if hn else (r * h) @ p["W_hn"]
            return (u * h + (1 - u) * np.tanh(xn + inner),)

        return gru
    if isinstance(cell, LSTMCell):

        def lstm(x, h, c):
            z = dict(zip(cell.gates, split(x @ W_x + h @ W_h + b), strict=True))
            peep = {k: p.get(f"p_{k}", 0.0) for k in "ifo"}
            i = sigmoid(z["i"] + peep["i"] * c) if "i" in z else 1.0
            f = sigmoid(z["f"] + peep["f"] * c) if "f" in z else 1.0
            c = f * c + i * np.tanh(z["g"])
            o = sigmoid(z["o"] + peep["o"] * c) if "o" in z else 1.0
            return o * np.tanh(c), c

        return lstm

    def normalise(z, gain):  # LayerNormalised(LSTMCell)
        gates = split(z)
        gates = [
            (g - g.mean(1, keepdims=True)) / np.sqrt(g.var(1, keepdims=True) + 1e-5) for g in gates
        ]
        return np.concatenate(gates, axis=1) * gain

    def normalised(x, h, c):
        z = normalise(x @ W_x, p["gain_x"]) + normalise(h @ W_h, p["gain_h"]) + b
        i, f, g, o = split(z)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    return normalised


def numpy_loop(cell, x, start, mask=None, reverse=False):
    """Outputs aligned to the input, and the final state."""
    step, state = numpy_step(cell), [np.array(s) for s in start]
    outputs = np.zeros((len(x), x.shape[1], cell.n_hidden))
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        new = step(x[t], *state)
        valid = np.ones((x.shape[1], 1), bool) if mask is None else mask[t][:, None] > 0
        state = [np.where(valid, n, s) for n, s in zip(new, state, strict=True)]
        outputs[t] = np.where(valid, state[0], 0)
    return outputs, state


CELLS = {
    "linear": lambda rng: LinearCell(D, H, rng=rng),
    "elman": lambda rng: ElmanCell(D, H, rng=rng),
    "elman relu": lambda rng: ElmanCell(D, H, rng=rng, activation="relu"),
    "elman sigmoid": lambda rng: ElmanCell(D, H, rng=rng, activation="sigmoid", bias=False),
    "elman identity": lambda rng: ElmanCell(D, H, rng=rng, activation="identity"),
    "lstm": lambda rng: LSTMCell(D, H, rng=rng),
    "lstm peepholes": lambda rng: LSTMCell(D, H, rng=rng, peepholes=True),
    "lstm of 1997": lambda rng: LSTMCell(D, H, rng=rng, gates="io", peepholes=True),
    "carousel": lambda rng: LSTMCell(D, H, rng=rng, gates="", bias=False),
    "gru": lambda rng: GRUCell(D, H, rng=rng),
    "gru without bias": lambda rng: GRUCell(D, H, rng=rng, bias=False),
    "gru reset before": lambda rng: GRUCell(D, H, rng=rng, reset="before"),
    "user's own": lambda rng: MixtureCell(D, H, rng=rng),
    "layer norm": lambda rng: LayerNormalised(LSTMCell(D, H, rng=rng)),
}
AUTOMATIC = {"gru reset before", "layer norm"}
MASK = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1], [1, 0, 0], [1, 0, 0]])
WAYS = {
    "plain": {},
    "masked": {"mask": MASK},
    "reversed": {"reverse": True},
    "both": {"mask": MASK, "reverse": True},
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make(name, rng):
    """A cell with all its weights drawn anew, also those that start at 0 or 1."""
    cell = CELLS[name](rng)
    for w in cell.params:
        w.set_value(rng.normal(size=w.get_value().shape) * 0.7)
    return cell


def everything(cell, x, start, d, **options):
    """Outputs, final state, and gradients of a sum over all of them."""
    outputs, final = unroll(cell, x, initial_state=start, **options)
    terms = zip([outputs, *final], d, strict=True)
    cost = sum((v * c).sum() for v, c in terms)
    return [outputs, *final, *pytensor.grad(cost, [x, *start, *cell.params])]


def is_fast(variable):
    """Whether the custom backward pass is in the graph of a variable."""
    return any(v.owner and isinstance(v.owner.op, Recurrence) for v in ancestors([variable]))


def close(got, expected, atol=1e-10, message=""):
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=atol, err_msg=message)


def compiled(inputs, outputs, mode=QUICK, **options):
    return pytensor.function(inputs, outputs, mode=mode, **options)


def cells_and_variants():
    """All cells; what differs little from another one is left to the slow run."""
    variants = {"elman sigmoid", "elman identity", "lstm of 1997", "gru without bias"}
    return [pytest.param(k, marks=[pytest.mark.slow] * (k in variants)) for k in CELLS]


@pytest.mark.parametrize("name", cells_and_variants())
def test_outputs_states_and_gradients_equal_a_numpy_loop_and_autodiff(name, rng):
    cell, x = make(name, rng), pt.tensor3("x")
    start = [pt.matrix(s) for s in cell.State._fields]
    d = [rng.normal(size=(T, B, H)), *(rng.normal(size=(B, H)) for _ in start)]
    values = [rng.normal(size=(T, B, D)), *(rng.normal(size=(B, H)) for _ in start)]
    ways = {k: WAYS[k] for k in (WAYS if name == "lstm" else ("both",))}
    cases = [
        (way, options, everything(cell, x, start, d, implementation=implementation, **options))
        for way, options in ways.items()
        for implementation in ("kernel", "scan")
    ]
    assert is_fast(cases[0][2][0]) == (name not in AUTOMATIC)
    flat = iter(compiled([x, *start], [v for *_, wanted in cases for v in wanted])(*values))
    results = [[next(flat) for _ in wanted] for *_, wanted in cases]
    for (way, options, _), bptt, autodiff in zip(
        cases[::2], results[::2], results[1::2], strict=True
    ):
        outputs, state = numpy_loop(cell, values[0], values[1:], **options)
        close(bptt[: 1 + len(start)], [outputs, *state], 1e-12, way)
        close(bptt, autodiff, message=way)


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("FAST_COMPILE", marks=pytest.mark.slow),
        pytest.param("CVM", marks=pytest.mark.slow),
        pytest.param("NUMBA", marks=[pytest.mark.numba, pytest.mark.slow]),
        pytest.param("JAX", marks=[pytest.mark.jax, pytest.mark.slow]),
    ],
)
@pytest.mark.filterwarnings("ignore:Skipping")
def test_modes_agree(mode, rng):
    if mode == "JAX":
        pytest.importorskip("jax")
    x, mask, wanted = pt.tensor("x", shape=(T, B, D)), pt.tensor("mask", shape=(T, B)), []
    for name in sorted(CELLS):
        cell = make(name, rng)
        outputs, final = unroll(
            cell, x, mask=mask, reverse=name == "lstm peepholes", truncate_every=2
        )
        cost = (outputs**2).sum() + sum((s**2).sum() for s in final)
        wanted += [outputs, *final, *pytensor.grad(cost, [x, *cell.params])]
    values = [rng.normal(size=(T, B, D)), MASK.astype(x.dtype)]
    close(compiled([x, mask], wanted, mode)(*values), compiled([x, mask], wanted)(*values), 1e-9)


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping")
@pytest.mark.parametrize("implementation", ["kernel", "scan"])
def test_jax_mode_says_that_it_needs_to_know_the_shape(implementation, rng):
    pytest.importorskip("jax")
    x, cell = pt.tensor3("x"), make("lstm", rng)
    with pytest.raises(NotImplementedError, match=r"unknown shape.*shape=\(time.*NUMBA does not"):
        compiled([x], unroll(cell, x, implementation=implementation)[0], "JAX")(np.ones((T, B, D)))
    x, mask = pt.tensor("x", shape=(T, B, D)), pt.matrix("mask")
    f = compiled([x, mask], unroll(cell, x, mask=mask, implementation=implementation)[0], "JAX")
    with pytest.raises(ValueError, match=r"Expected \(5, 3\) but got \(3, 5\)"):
        f(np.ones((T, B, D)), np.ones((B, T)))


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping", "ignore:The RandomType")
def test_jax_mode_draws_new_masks_at_each_call(rng):
    pytest.importorskip("jax")
    x = pt.tensor("x", shape=(T, B, D))
    h, _ = unroll(Zoneout(make("lstm", rng), {"h": 0.5}, rng=np.random.default_rng(1)), x)
    f, value = compiled([x], h, "JAX", updates=graph_updates(h)), rng.normal(size=(T, B, D))
    assert (np.asarray(f(value)) != np.asarray(f(value))).any()


def those_to_verify():
    fast = {"elman", "lstm peepholes", "gru", "user's own"}
    return [pytest.param(k, marks=[pytest.mark.slow] * (k not in fast)) for k in CELLS]


@pytest.mark.parametrize("name", those_to_verify())
def test_verify_grad_passes(name, rng):
    values = [w.get_value() for w in make(name, rng).params]
    x = rng.normal(size=(3, 2, D))

    def outputs(x, *weights):
        cell = make(name, rng)
        given = dict(zip(cell.params, weights, strict=True))
        h, final = unroll(cell, x, mask=np.array([[1, 1], [1, 1], [1, 0]]))
        return clone_replace((h**2).sum() + final[-1].sum(), given)

    verify_grad(outputs, [x, *values], rng=rng, mode=QUICK, no_debug_ref=False)


@pytest.mark.parametrize("name", ["lstm", "gru reset before"])
@pytest.mark.parametrize("implementation", ["kernel", "scan"])
def test_truncation_cuts_the_gradient_as_segments_with_a_carried_state_do(
    name, implementation, rng
):
    """Also that of a learned initial state, which the first segment alone has."""
    cell, x = make(name, rng), pt.tensor3("x")
    start = learned_initial_state(cell)
    for s in start:
        s.set_value(rng.normal(size=H))
    d = rng.normal(size=(T, B, H))
    outputs, _ = unroll(
        cell, x, initial_state=start, truncate_every=2, implementation=implementation
    )
    state, segments = start, []
    for segment in (x[:2], x[2:4], x[4:]):
        h, state = unroll(cell, segment, initial_state=state)
        state = [pytensor.gradient.disconnected_grad(s) for s in state]
        segments.append(h)
    wanted = [
        v
        for h in (outputs, pt.concatenate(segments))
        for v in [h, *pytensor.grad((h * d).sum(), [x, *start, *cell.params])]
    ]
    results = compiled([x], wanted)(rng.normal(size=(T, B, D)))
    close(results[: len(results) // 2], results[len(results) // 2 :])


def test_second_derivatives_equal_those_of_the_scan(rng):
    cell, x, second = make("lstm", rng), pt.tensor3("x"), []
    for implementation in ("kernel", "scan"):
        outputs, final = unroll(cell, x, mask=MASK, implementation=implementation)
        first = pytensor.grad((outputs**2).sum() + final.c.sum(), [x, *cell.params])
        second += pytensor.grad(sum((g**2).sum() for g in first), [x, *cell.params])
    results = compiled([x], second)(rng.normal(size=(T, B, D)))
    close(results[:4], results[4:], 1e-9)


@pytest.mark.parametrize("name", ["elman", "elman identity", "linear"])
def test_second_derivatives_of_a_truncated_gradient_are_refused(name, rng):
    cell, x = make(name, rng), pt.tensor3("x")
    first = pytensor.grad((unroll(cell, x, truncate_every=2)[0] ** 2).sum(), cell.W_x)
    with pytest.raises(NotImplementedError, match=r"use unroll.*scan"):
        pytensor.grad((first**2).sum(), cell.W_x)


def test_a_graph_can_be_compiled_again_and_differentiated_after_compiling(rng):
    cell, x = make("gru", rng), pt.tensor3("x")
    loss = (unroll(cell, x)[0] ** 2).sum()
    value = rng.normal(size=(T, B, D))
    first = compiled([x], [loss, pytensor.grad(loss, cell.W_h)])(value)
    again = compiled([x], [loss, pytensor.grad(loss, cell.W_h)])(value)
    close(first, again)


@pytest.mark.slow  # its scans alone: test_unroll.test_two_like_scans_compiled_together
@pytest.mark.numba
def test_two_like_recurrences_in_one_function_equal_the_two_apart(rng):
    x, mask, wanted = pt.tensor3("x"), pt.matrix("mask"), []
    for _ in range(2):
        cell = make("lstm peepholes", rng)
        outputs, final = unroll(cell, x, mask=mask, truncate_every=2)
        cost = (outputs**2).sum() + final.c.sum()
        wanted += [outputs, final.c, *pytensor.grad(cost, cell.params)]
    values = [rng.normal(size=(T, B, D)), MASK.astype("float64")]
    halves = wanted[: len(wanted) // 2], wanted[len(wanted) // 2 :]
    apart = [compiled([x, mask], half)(*values) for half in halves]
    close(compiled([x, mask], wanted, "NUMBA")(*values), [*apart[0], *apart[1]])


@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
def test_one_step_one_sample_one_unit(name, rng):
    cell = {"elman": ElmanCell, "lstm": LSTMCell, "gru": GRUCell}[name](1, 1, rng=rng)
    value, start = np.full((1, 1, 1), 0.5), [np.full((1, 1), s) for s in (0.3, -0.8)]
    start = start[: len(cell.State._fields)]
    expected, state = numpy_loop(cell, value, start)
    for shape in ((None, None, None), (1, 1, 1)):
        x = pt.tensor("x", shape=shape, dtype="float64")
        d = [np.ones((1, 1, 1)), *(np.ones((1, 1)) for _ in start)]
        constants = [pt.constant(s) for s in start]
        fast, plain = (
            everything(cell, x, constants, d, implementation=b) for b in ("kernel", "scan")
        )
        results = compiled([x], [*fast, *plain])(value)
        close(results[: 1 + len(start)], [expected, *state], 1e-14)
        close(results[: len(fast)], results[len(fast) :], 1e-14)
        assert all((abs(g) > 0).all() for g in results[1 + len(start) : len(fast)])


def test_a_padded_batch_equals_its_sequences_one_by_one(rng):
    cell, x, mask = make("lstm", rng), pt.tensor3("x"), pt.matrix("mask")
    lengths = [5, 2, 3]
    valid = (np.arange(T)[:, None] < lengths).astype(float)
    value = np.where(valid[:, :, None] > 0, rng.normal(size=(T, B, D)), np.nan)

    def both_ways(**options):
        ways = [unroll(cell, x, reverse=r, **options) for r in (False, True)]
        return [h for h, _ in ways], [s for _, state in ways for s in state]

    outputs, states = both_ways(mask=mask)
    got = compiled([x, mask], [*outputs, *states])(value, valid)
    outputs, states = both_ways()
    alone = compiled([x], [*outputs, *states])
    for b, length in enumerate(lengths):
        expected = alone(value[:length, b : b + 1])
        close([h[:length, b] for h in got[:2]], [h[:, 0] for h in expected[:2]], 1e-13)
        close([s[b] for s in got[2:]], [s[0] for s in expected[2:]], 1e-13)
    for h in got[:2]:
        assert (h[valid == 0] == 0).all()


def test_padding_has_no_influence_on_gradients_even_if_it_is_nan(rng):
    cell, x = make("gru", rng), pt.tensor3("x")
    outputs, _ = unroll(cell, x, mask=MASK)
    gradients = compiled([x], pytensor.grad((outputs**2).sum(), [x, *cell.params]))
    value = rng.normal(size=(T, B, D))
    zeros, nans = value.copy(), value.copy()
    zeros[MASK == 0], nans[MASK == 0] = 0, np.nan
    close(gradients(nans), gradients(zeros), 0)


def test_segments_with_a_carried_state_equal_the_whole_and_reset_starts_anew(rng):
    cell, x = make("lstm", rng), pt.tensor3("x")
    carried = CarriedState(cell, B)
    outputs, final = unroll(cell, x, initial_state=carried.state)
    step = compiled([x], outputs, updates=carried.updates(final))
    value = rng.normal(size=(6, B, D))
    whole = step(value)
    carried.reset()
    close([np.concatenate([step(value[:2]), step(value[2:])])], [whole], 1e-14)
    carried.reset([1])
    assert (carried.state.c.get_value()[1] == 0).all()
    assert (carried.state.c.get_value()[0] != 0).all()


def test_a_learnt_state_is_shared_by_the_samples_and_gets_a_gradient(rng):
    cell, x = make("lstm", rng), pt.tensor3("x")
    start = learned_initial_state(cell)
    for s in start:
        s.set_value(rng.normal(size=H))
    outputs, _ = unroll(cell, x, initial_state=start)
    h0, c0 = pt.matrices("h0", "c0")
    given, _ = unroll(cell, x, initial_state=(h0, c0))
    f = compiled([x], [outputs, *pytensor.grad((outputs**2).sum(), list(start))])
    g = compiled([x, h0, c0], [given, *pytensor.grad((given**2).sum(), [h0, c0])])
    value = rng.normal(size=(T, B, D))
    expected = g(value, *(np.tile(s.get_value(), (B, 1)) for s in start))
    close(f(value), [expected[0], expected[1].sum(0), expected[2].sum(0)])


@pytest.mark.parametrize("merge", ["concatenate", "sum", "average"])
def test_bidirectional_merges_two_directions(merge, rng):
    cells, x = [make("gru", rng), make("elman", rng)], pt.tensor3("x")
    outputs, (last, first) = bidirectional(*cells, x, mask=MASK, merge=merge)
    value, zero = rng.normal(size=(T, B, D)), [np.zeros((B, H))]
    a, a_state = numpy_loop(cells[0], value, zero, MASK)
    b, b_state = numpy_loop(cells[1], value, zero, MASK, reverse=True)
    merged = {"concatenate": np.concatenate([a, b], 2), "sum": a + b, "average": (a + b) / 2}
    got = compiled([x], [outputs, last.h, first.h])(value)
    close(got, [merged[merge], *a_state, *b_state], 1e-13)


def test_a_stack_feeds_each_layer_with_the_one_below(rng):
    cells = [
        LSTMCell(D, H, rng=rng),
        (GRUCell(H, 2, rng=rng), GRUCell(H, 2, rng=rng)),
        ElmanCell(H, 3, rng=rng),
    ]
    x, value = pt.tensor3("x"), rng.normal(size=(T, B, D))
    outputs, states = stack(cells, x, mask=MASK)
    a, _ = numpy_loop(cells[0], value, [np.zeros((B, H))] * 2, MASK)
    zero = [np.zeros((B, 2))]
    b = [
        numpy_loop(c, a, zero, MASK, reverse=r)[0]
        for c, r in zip(cells[1], (False, True), strict=True)
    ]
    c, state = numpy_loop(cells[2], np.concatenate(b, 2), [np.zeros((B, 3))], MASK)
    close(compiled([x], [outputs, states[2].h])(value), [c, *state], 1e-13)
    assert len(states) == 3
    assert len(states[1]) == 2


def test_a_stack_with_residual_and_skip_connections_and_something_between(rng):
    x, value = pt.tensor3("x"), rng.normal(size=(T, B, D))
    zero = [np.zeros((B, H))]
    cells = [ElmanCell(D, H, rng=rng), ElmanCell(H, H, rng=rng)]
    residual, _ = stack(cells, x, residual=True, between=lambda h: 2 * h)
    skipping = [ElmanCell(D, H, rng=rng), ElmanCell(H + D, H, rng=rng)]
    skip, _ = stack(skipping, x, skip=True)
    got = compiled([x], [residual, skip])(value)
    below = 2 * numpy_loop(cells[0], value, zero)[0]
    first = numpy_loop(skipping[0], value, zero)[0]
    both = np.concatenate([first, value], 2)
    expected = [
        numpy_loop(cells[1], below, zero)[0] + below,
        numpy_loop(skipping[1], both, zero)[0],
    ]
    close(got, expected, 1e-13)


def test_padding_stays_out_of_residual_connections(rng):
    with pytensor.config.change_flags(floatX="float32"):
        cells = [ElmanCell(D, D, rng=rng), ElmanCell(D, D, rng=rng)]
    x, value = pt.dtensor3("x"), rng.normal(size=(T, B, D))
    outputs, _ = stack(cells, x, mask=MASK, residual=True)
    assert outputs.dtype == "float32"
    zero, clean = [np.zeros((B, D))], np.where(MASK[:, :, None] > 0, value, 0)
    first = numpy_loop(cells[0], value, zero, MASK)[0] + clean
    second = numpy_loop(cells[1], first, zero, MASK)[0] + first
    close([compiled([x], outputs)(np.where(MASK[:, :, None] > 0, value, np.nan))], [second], 1e-5)


def test_a_bidirectional_stack_has_the_gradients_of_plain_scans(rng):
    cells = [(LSTMCell(D, H, rng=rng), LSTMCell(D, H, rng=rng)), GRUCell(H, H, rng=rng)]
    params = [*cells[0][0].params, *cells[0][1].params, *cells[1].params]
    x, results = pt.tensor3("x"), []
    for implementation in ("kernel", "scan"):
        outputs, states = stack(
            cells, x, mask=MASK, merge="sum", implementation=implementation, residual=True
        )
        cost = (outputs**2).sum() + states[0][1].c.sum() + states[1].h.sum()
        results += [outputs, *pytensor.grad(cost, [x, *params])]
    results = compiled([x], results)(rng.normal(size=(T, B, D)))
    close(results[: len(results) // 2], results[len(results) // 2 :])


def always(monkeypatch, *masks):
    """Let a wrapped cell draw these masks, one after the other, again and again."""
    drawn = itertools.cycle(pt.as_tensor_variable(m) for m in masks)
    monkeypatch.setattr(wrappers, "draw_mask", lambda *_: next(drawn))


@pytest.mark.parametrize("name", ["lstm", "gru", "gru reset before"])
def test_zoneout_has_the_gradient_of_the_plain_scan_with_the_same_masks(name, rng, monkeypatch):
    cell, x, results = make(name, rng), pt.tensor3("x"), []
    masks = {s: rng.random((T, B, H)) < 0.6 for s in cell.State._fields}
    for implementation in ("kernel", "scan"):
        always(monkeypatch, *masks.values())
        zoneout = Zoneout(cell, dict.fromkeys(masks, 0.4), rng=rng)
        outputs, final = unroll(
            zoneout, x, mask=MASK, truncate_every=2, implementation=implementation
        )
        cost = (outputs**2).sum() + final.h.sum()
        results += [outputs, *pytensor.grad(cost, [x, *cell.params])]
    results = compiled([x], results)(rng.normal(size=(T, B, D)))
    close(results[: len(results) // 2], results[len(results) // 2 :])


def test_zoneout_keeps_units_at_random_in_training_and_mixes_at_inference(rng):
    lstm, x = make("lstm", rng), pt.tensor3("x")
    value = rng.normal(size=(40, 20, D))
    h, _ = unroll(Zoneout(lstm, {"h": 0.3}, rng=np.random.default_rng(5)), x)
    train = function([x], h)
    first, second = train(value), train(value)
    kept = (first[1:] == first[:-1]).mean()
    assert 0.27 < kept < 0.33
    assert (first != second).any()
    _, final = unroll(Zoneout(lstm, {"h": 0.3, "c": 0.5}, rng=None), x, mask=MASK)
    step = numpy_step(lstm)
    state = [np.zeros((B, H))] * 2
    for t in range(T):
        new = step(value[t, :B], *state)
        mixed = [r * s + (1 - r) * n for r, s, n in zip((0.3, 0.5), state, new, strict=True)]
        state = [np.where(MASK[t][:, None] > 0, m, s) for m, s in zip(mixed, state, strict=True)]
    close(compiled([x], list(final))(value[:T, :B]), state, 1e-13)
    with pytest.raises(ValueError, match="g is not in the cell's state"):
        Zoneout(lstm, {"g": 0.1}, rng=None)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        Zoneout(lstm, {"h": 1.0}, rng=None)
    with pytest.raises(TypeError, match="rng is 5, but must be a generator"):
        Zoneout(lstm, {"h": 0.1}, rng=5)
    with pytest.raises(TypeError, match=r"rates is 0.1.*\{'h': 0.1\}"):
        Zoneout(lstm, 0.1, rng=None)
    with pytest.raises(TypeError, match="zoneout already"):
        Zoneout(Zoneout(lstm, {"h": 0.1}, rng=None), {"c": 0.1}, rng=None)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_variational_dropout_has_the_gradient_of_the_plain_scan(name, rng, monkeypatch):
    cell, x, results = make(name, rng), pt.tensor3("x"), []
    always(monkeypatch, rng.random((B, H)) < 0.6)
    dropped = VariationalDropout(cell, 0.4, rng=rng)
    for implementation in ("kernel", "scan"):
        outputs, final = unroll(
            dropped, x, mask=MASK, truncate_every=2, implementation=implementation
        )
        cost = (outputs**2).sum() + final.kept.sum()
        results += [outputs, *pytensor.grad(cost, [x, *cell.params])]
    assert is_fast(results[0])
    results = compiled([x], results)(rng.normal(size=(T, B, D)))
    close(results[: len(results) // 2], results[len(results) // 2 :])


def test_variational_dropout_goes_around_the_other_wrappers(rng, monkeypatch):
    cell, x, m = LayerNormalised(make("lstm", rng)), pt.tensor3("x"), rng.random((B, H)) < 0.6
    zoneout = Zoneout(cell, {"c": 0.4}, rng=None)
    always(monkeypatch, m)
    outputs, final = unroll(VariationalDropout(zoneout, 0.4, rng=rng), x, mask=MASK)
    h, kept = compiled([x], [final.h, final.kept])(rng.normal(size=(T, B, D)))
    close([h], [m * kept / 0.6], 1e-14)
    assert outputs.ndim == final.c.ndim + 1


def test_zoneout_within_variational_dropout_keeps_h_before_and_after_dropout_alike(
    rng, monkeypatch
):
    cell, x = make("lstm", rng), pt.tensor3("x")
    kept_units, update = rng.random((B, H)) < 0.6, rng.random((T, B, H)) < 0.6
    always(monkeypatch, kept_units, update)
    zoneout = Zoneout(cell, {"h": 0.4}, rng=rng)
    both = VariationalDropout(zoneout, 0.4, rng=rng)
    outputs, final = unroll(both, x)
    h, kept = compiled([x], [outputs[-1], final.kept])(rng.normal(size=(T, B, D)))
    close([h], [kept_units * kept / 0.6], 1e-14)
    never = ~update.any(axis=0)
    assert (kept[never] == 0).all()
    assert kept[~never].all()


def test_variational_dropout_leaves_out_what_goes_into_the_product_and_to_the_layer_above(
    rng, monkeypatch
):
    cell, value, m = make("gru", rng), rng.normal(size=(T, B, D)), rng.random((B, H)) < 0.6
    W_x, W_h, b, b_hn = (w.get_value() for w in cell.params)
    kept, expected = np.zeros((B, H)), []
    for x_t in value:
        zx, zh = x_t @ W_x + b, (kept * m / 0.6) @ W_h
        r, u = (1 / (1 + np.exp(-(zx + zh)[:, k * H : (k + 1) * H])) for k in range(2))
        n = np.tanh(zx[:, 2 * H :] + r * (zh[:, 2 * H :] + b_hn))
        kept = (1 - u) * n + u * kept  # whole
        expected.append(kept * m / 0.6)
    x = pt.tensor3("x")
    always(monkeypatch, m)
    outputs, final = unroll(VariationalDropout(cell, 0.4, rng=rng), x)
    close(compiled([x], [outputs, final.kept])(value), [np.array(expected), kept], 1e-13)


def test_variational_dropout_draws_new_masks_at_each_call_and_one_for_all_steps(rng):
    lstm, x = make("lstm", rng), pt.tensor3("x")
    h, _ = unroll(VariationalDropout(lstm, 0.3, rng=np.random.default_rng(5)), x)
    train = function([x], h)
    value = rng.normal(size=(5, 400, D))
    first, second = train(value), train(value)
    for out in (first == 0, second == 0):
        assert (out == out[0]).all()
        assert out[0].mean() == pytest.approx(0.3, abs=0.04)
    assert ((first == 0) != (second == 0)).any()
    none, _ = unroll(VariationalDropout(lstm, 0.0, rng=rng), x)
    close(*([a] for a in compiled([x], [none, unroll(lstm, x)[0]])(value)), 1e-14)


def test_variational_dropout_refuses_what_it_cannot_do(rng):
    lstm = make("lstm", rng)
    with pytest.raises(ValueError, match=r"rate is 1.0, but must be in \[0, 1\)"):
        VariationalDropout(lstm, 1.0, rng=rng)
    with pytest.raises(TypeError, match="rng is None, but must be a generator"):
        VariationalDropout(lstm, 0.3, rng=None)
    with pytest.raises(TypeError, match="variational dropout already"):
        VariationalDropout(VariationalDropout(lstm, 0.3, rng=rng), 0.3, rng=rng)


def test_layer_normalisation_refuses_what_it_cannot_do(rng):
    with pytest.raises(TypeError, match=r"inside, Zoneout\(LayerNormalised"):
        LayerNormalised(Zoneout(LSTMCell(D, H, rng=rng), {"h": 0.1}, rng=None))
    with pytest.raises(ValueError, match="2 units or more"):
        LayerNormalised(LSTMCell(D, 1, rng=rng))
    with pytest.raises(ValueError, match="product inside its step"):
        LayerNormalised(GRUCell(D, H, rng=rng, reset="before"))
    with pytest.raises(ValueError, match="epsilon"):
        LayerNormalised(LSTMCell(D, H, rng=rng), epsilon=-1)


def test_states_have_the_dtype_and_the_name_of_their_cell(rng):
    with pytensor.config.change_flags(floatX="float32"):
        cell = LayerNormalised(LSTMCell(D, H, rng=rng))
    Module(encoder=cell)
    carried, x = CarriedState(cell, B), pt.ftensor3("x")
    assert [s.name for s in carried.state] == ["encoder.cell.carried_h", "encoder.cell.carried_c"]
    assert [s.name for s in learned_initial_state(cell)] == ["encoder.cell.h_0", "encoder.cell.c_0"]
    updates = carried.updates(unroll(cell, x, initial_state=carried.state)[1])
    compiled([x], [], updates=updates)(np.ones((T, B, D), "float32"))
    assert carried.state.h.get_value().dtype == "float32"
    with pytest.raises(ValueError, match="batch_size is 0"):
        CarriedState(cell, 0)
    with pytest.raises(TypeError, match="make one for each"):
        learned_initial_state([cell])
    with pytest.raises(TypeError, match="the second of the two"):
        carried.updates(x)
    with pytest.raises(ValueError, match="the state has 2 arrays, but 1 are given"):
        carried.updates(unroll(make("gru", rng), pt.tensor3("x"))[1])


@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_weights_of_either_precision_keep_it(floatX, rng):
    with pytensor.config.change_flags(floatX=floatX):
        for name in CELLS:
            outputs, final = unroll(CELLS[name](rng), pt.dtensor3("x"))
            assert {outputs.dtype, *(s.dtype for s in final)} == {floatX}


def test_what_does_not_fit_is_refused_when_the_graph_is_built(rng):
    cell, x = make("lstm", rng), pt.tensor3("x")
    for options, error, message in [
        ({"mask": pt.tensor3("m")}, ValueError, "mask has 3 axes"),
        ({"mask": pt.zmatrix("m")}, TypeError, "mask has dtype complex128"),
        ({"truncate_every": 0}, ValueError, "truncate_every is 0"),
        ({"implementation": "fast"}, ValueError, "one of 'kernel', 'scan'"),
        ({"truncate_every": 2.5}, ValueError, "truncate_every is 2.5"),
        ({"truncate_every": "5"}, ValueError, "truncate_every is '5'"),
        ({"initial_state": (pt.matrix(),)}, ValueError, r"LSTMState\(h, c\)"),
        ({"initial_state": np.zeros((2, H))}, TypeError, r"LSTMState\(h, c\)"),
        ({"initial_state": {"h": 0, "c": 0}}, TypeError, r"LSTMState\(h, c\)"),
        ({"initial_state": (np.zeros((B, H)), np.zeros(H + 1))}, ValueError, "state c has shape"),
        ({"initial_state": (np.zeros((1, B, H)), np.zeros(H))}, ValueError, "state h has shape"),
    ]:
        with pytest.raises(error, match=message):
            unroll(cell, x, **options)
    with pytest.raises(ValueError, match=r"x has shape .* 2 features"):
        unroll(cell, pt.tensor("x", shape=(T, B, D + 1)))
    with pytest.raises(ValueError, match="at least one step"):
        unroll(cell, pt.tensor("x", shape=(0, B, D)))
    known = pt.tensor("x", shape=(T, B, D))
    with pytest.raises(ValueError, match=r"mask has shape \(3, 5\) and x \(5, 3, 2\)"):
        unroll(cell, known, mask=MASK.T)
    with pytest.raises(ValueError, match=r"state h has shape \(2, 4\).*= \(3, 4\)"):
        unroll(cell, known, initial_state=(np.zeros((B - 1, H)), np.zeros((B, H))))
    with pytest.raises(TypeError, match="first of the two results of unroll"):
        unroll(cell, unroll(cell, x))
    with pytest.raises(TypeError, match="is not a cell"):
        unroll(LSTMCell, x)
    with pytest.raises(TypeError, match=r"unexpected keyword argument .reverse"):
        bidirectional(cell, cell, x, reverse=True)
    with pytest.raises(ValueError, match="cells of one size, not of 4 and 3"):
        bidirectional(cell, LSTMCell(D, 3, rng=rng), x, merge="sum")
    with pytest.raises(ValueError, match="layer 0 has 3 cells"):
        stack([(cell, cell, cell)], x)
    with pytest.raises(ValueError, match="merge is 'product'"):
        bidirectional(cell, cell, x, merge="product")
    with pytest.raises(TypeError, match=r"one cell, not a list of 2: use stack\(cells, x\)"):
        unroll([cell, cell], x)
    with pytest.raises(TypeError, match=r"write \[cell\]"):
        stack(cell, x)
    with pytest.raises(ValueError, match=r"layer 1 is made for 2 inputs, but .* has 4 outputs"):
        stack([cell, LSTMCell(D, H, rng=rng)], x)
    with pytest.raises(ValueError, match="at least one cell"):
        stack([], x)
    with pytest.raises(ValueError, match="1 layers got 2 initial states"):
        stack([cell], x, initial_state=[None, None])
    with pytest.raises(ValueError, match="gates is 'oi'"):
        LSTMCell(D, H, rng=rng, gates="oi")
    with pytest.raises(ValueError, match="activation is 'swish'"):
        ElmanCell(D, H, rng=rng, activation="swish")
    with pytest.raises(ValueError, match="reset is 'never'"):
        GRUCell(D, H, rng=rng, reset="never")


def test_a_step_that_returns_too_few_states_is_refused(rng):
    class Forgetful(LSTMCell):
        def step(self, z, h, c):
            return (h,)

    with pytest.raises(ValueError, match="returns 1 arrays, but the cell's state has 2"):
        unroll(Forgetful(D, H, rng=rng), pt.tensor3("x"))


def test_masks_that_do_not_fit_are_refused_when_called(rng):
    cell, x, mask = make("elman", rng), pt.tensor3("x"), pt.matrix("mask")
    f = compiled([x, mask], unroll(cell, x, mask=mask)[0])
    value = np.ones((T, B, D))
    for shape in ((T, B + 1), (T - 1, B), (1, B)):
        with pytest.raises(ValueError, match="mask's shape is not"):
            f(value, np.ones(shape))
    with pytest.raises(ValueError, match="other than 0 and 1"):
        f(value, np.full((T, B), 0.5))


def test_variational_dropout_goes_on_from_a_carried_state_with_a_new_mask(monkeypatch):
    rng, x = np.random.default_rng(0), pt.tensor3("x")
    lstm, m = LSTMCell(D, H, rng=rng), pt.matrix("m")
    always(monkeypatch, m)
    dropped = VariationalDropout(lstm, 0.4, rng=rng)
    carried = CarriedState(lstm, B)
    outputs, final = unroll(dropped, x, initial_state=dropped.start(carried.state))
    inner = dropped.inner(final)
    assert type(inner) is LSTMState
    f = pytensor.function([x, m], [outputs, *inner], updates=carried.updates(inner), mode=QUICK)
    value = rng.normal(size=(T, B, D))
    for _ in range(2):
        mask = rng.random((B, H)) < 0.6
        h, c = (s.get_value() for s in carried.state)
        got, got_h, got_c = f(value, mask.astype(x.dtype))
        for t in range(T):  # by hand: what goes into the product is masked, h itself is not
            z = value[t] @ lstm.W_x.get_value() + lstm.b.get_value()
            z = z + (mask / 0.6 * h) @ lstm.W_h.get_value()
            i, f_, g, o = np.split(z, 4, axis=1)
            c = c / (1 + np.exp(-f_)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            np.testing.assert_allclose(got[t], mask / 0.6 * h, atol=1e-12)
        np.testing.assert_allclose([got_h, got_c], [h, c], atol=1e-12)


def test_a_mask_is_neither_carried_nor_learned():
    rng = np.random.default_rng(0)
    dropped = VariationalDropout(LSTMCell(D, H, rng=rng), 0.4, rng=rng)
    for make in (learned_initial_state, lambda cell: CarriedState(cell, B)):
        with pytest.raises(TypeError, match="contains a random mask"):
            make(dropped)
    with pytest.raises(ValueError, match=r"1 axes, but must be \(batch, n_hidden\)"):
        dropped.start(learned_initial_state(dropped.cell))
