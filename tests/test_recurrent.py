"""Every cell through every way of unrolling: against a NumPy loop, and both ways back."""

import itertools
import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad

from symrnn.cells import (
    ACTIVATIONS,
    Cell,
    ElmanCell,
    GRUCell,
    HiddenState,
    LayerNormalised,
    LinearCell,
    LSTMCell,
    Zoneout,
)
from symrnn.noise import Noise
from symrnn.unroll import CarriedState, bidirectional, learnt_state, stack, unroll

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
        self.leak = self.parameter("leak", (self.n_hidden,), np.linspace(-1, 1, self.n_hidden))

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
        there = np.ones((x.shape[1], 1), bool) if mask is None else mask[t][:, None] > 0
        state = [np.where(there, n, s) for n, s in zip(new, state, strict=True)]
        outputs[t] = np.where(there, state[0], 0)
    return outputs, state


CELLS = {
    "linear": lambda rng: LinearCell(D, H, rng),
    "elman": lambda rng: ElmanCell(D, H, rng),
    "elman relu": lambda rng: ElmanCell(D, H, rng, "relu"),
    "elman sigmoid": lambda rng: ElmanCell(D, H, rng, "sigmoid", bias=False),
    "elman identity": lambda rng: ElmanCell(D, H, rng, "identity"),
    "lstm": lambda rng: LSTMCell(D, H, rng),
    "lstm peepholes": lambda rng: LSTMCell(D, H, rng, peepholes=True),
    "lstm of 1997": lambda rng: LSTMCell(D, H, rng, gates="io", peepholes=True),
    "carousel": lambda rng: LSTMCell(D, H, rng, gates="", bias=False),
    "gru": lambda rng: GRUCell(D, H, rng),
    "gru without bias": lambda rng: GRUCell(D, H, rng, bias=False),
    "gru reset before": lambda rng: GRUCell(D, H, rng, reset="before"),
    "user's own": lambda rng: MixtureCell(D, H, rng),
    "layer norm": lambda rng: LayerNormalised(LSTMCell(D, H, rng)),
}
AUTOMATIC = {"gru reset before", "layer norm"}
MASK = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1], [1, 0, 0], [1, 0, 0]])
WAYS = {
    "plain": {},
    "masked": {"mask": MASK},
    "reversed": {"reverse": True},
    "masked and reversed": {"mask": MASK, "reverse": True},
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


def everything(cell, x, start, d, truncate=None, **way):
    """Outputs, final state, and gradients of a sum over all of them."""
    results = []
    for backward in ("bptt", "autodiff"):
        outputs, final = unroll(cell, x, start, backward=backward, truncate=truncate, **way)
        cost = (outputs * d[0]).sum() + sum(
            (s * v).sum() for s, v in zip(final, d[1:], strict=True)
        )
        results.append([outputs, *final, *pytensor.grad(cost, [x, *start, *cell.params])])
    return results


def is_fast(variable):
    """Whether the fast way back is in the graph of a variable."""
    from pytensor.graph.traversal import ancestors

    ops = {type(v.owner.op).__name__ for v in ancestors([variable]) if v.owner is not None}
    return "Recurrence" in ops


@pytest.mark.parametrize("name", CELLS)
def test_outputs_states_and_gradients_equal_a_numpy_loop_and_autodiff(name, rng):
    cell = make(name, rng)
    x = pt.tensor3("x")
    start = [pt.matrix(s) for s in cell.State._fields]
    d = [rng.normal(size=(T, B, H)), *(rng.normal(size=(B, H)) for _ in start)]
    pairs = [everything(cell, x, start, d, **way) for way in WAYS.values()]
    assert is_fast(pairs[0][0][0]) == (name not in AUTOMATIC)
    values = [rng.normal(size=(T, B, D)), *(rng.normal(size=(B, H)) for _ in start)]
    flat = pytensor.function([x, *start], sum(sum(pairs, []), []))(*values)
    flat = iter(flat)
    for (way, options), (bptt, _) in zip(WAYS.items(), pairs, strict=True):
        fast, plain = ([next(flat) for _ in bptt] for _ in range(2))
        outputs, state = numpy_loop(cell, *values[:1], values[1:], **options)
        for got, expected in zip(fast, [outputs, *state], strict=False):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12, err_msg=way)
        for got, expected in zip(fast, plain, strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10, err_msg=way)


MODES = [
    "CVM",
    pytest.param("NUMBA", marks=pytest.mark.numba),
    pytest.param("JAX", marks=[pytest.mark.jax, pytest.mark.slow]),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:Skipping")
def test_modes_agree(mode, rng):
    if mode == "JAX":
        pytest.importorskip("jax")
    x = pt.tensor("x", shape=(T, B, D))
    wanted = []
    for name in ["lstm peepholes", "gru", "user's own", "elman relu"]:
        cell = make(name, rng)
        outputs, final = unroll(cell, x, mask=MASK, reverse=name == "gru", truncate=2)
        cost = (outputs**2).sum() + sum((s**2).sum() for s in final)
        wanted += [outputs, *final, *pytensor.grad(cost, [x, *cell.params])]
    value = rng.normal(size=(T, B, D))
    reference = pytensor.function([x], wanted)(value)
    for got, expected in zip(
        pytensor.function([x], wanted, mode=mode)(value), reference, strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
