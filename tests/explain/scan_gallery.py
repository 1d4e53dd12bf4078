"""Scans of all kinds: how they are built, what they are, and what they compute in plain Python.

Each function returns a `Case`. The truth (arguments, equations, results) is written by hand; the
values are computed by a plain loop.
"""

from typing import Any, NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.scan import until

from symrnn.explain import local_names
from symrnn.nn.cells import ElmanCell, GRUCell, LSTMCell
from symrnn.nn.module import Module
from symrnn.nn.recurrent import bidirectional, unroll


class Case(NamedTuple):
    outputs: Any
    inputs: dict[Any, Any]
    arguments: list[tuple[str, str]]
    equations: list[str]
    values: dict[str, Any]
    headline: str
    scan: int = -1


def scan(fn, **options):
    with local_names():  # newer versions of PyTensor forget the names within a step
        return pytensor.scan(fn, return_updates=False, **options)


def number(value):
    return pt.constant(value, dtype="float64")


ZERO = number(0.0)
VALUES = np.arange(1.0, 6.0) / 5


def cumulative_sum():
    x = pt.dvector("x")
    total = scan(lambda x_t, s: s + x_t, sequences=[x], outputs_info=[number(0.0)])
    total.name = "total"
    value, s, sums = [3.0, 1.0, 4.0, 1.0], 0.0, []
    for v in value:
        s += v
        sums.append(s)
    return Case(
        total,
        {x: value},
        [("x[t]", "sequence"), ("total[t-1]", "state")],
        ["total[t] = total[t-1] + x[t]"],
        {"x[t]": value, "total[t-1]": [0.0, *sums[:-1]], "total[t]": sums},
        "a scan of as many steps as x has",
    )


def fibonacci():
    f0 = pt.lvector("f0")
    f = scan(lambda a, b: a + b, outputs_info=[{"initial": f0, "taps": [-2, -1]}], n_steps=8)
    values = [0, 1]
    for _ in range(8):
        values.append(values[-1] + values[-2])
    return Case(
        f,
        {f0: [0, 1]},
        [("f[t-2]", "state"), ("f[t-1]", "state")],
        ["f[t] = f[t-2] + f[t-1]"],
        {"f[t-2]": values[:8], "f[t-1]": values[1:9], "f[t]": values[2:]},
        "a scan of 8 steps",
    )


def powers():
    """A to the power of k, the first example of PyTensor's documentation."""
    A, k = pt.dvector("A"), pt.iscalar("k")
    result = scan(
        lambda prior, A: prior * A, outputs_info=pt.ones_like(A), non_sequences=A, n_steps=k
    )
    result.name = "power"
    value = np.array([2.0, 3.0])
    return Case(
        result[-1],
        {A: value, "k": 4},
        [("power[t-1]", "state"), ("A", "non-sequence")],
        ["power[t] = power[t-1] * A"],
        {"power[t]": [value, value * value, value * value * value, value * value * value * value]},
        "a scan of k steps",
    )


def polynomial():
    """Of the documentation: nothing is fed back."""
    c, x = pt.dvector("c"), pt.dscalar("x")
    terms = scan(
        lambda c, power, x: c * (x**power),
        sequences=[c, pt.arange(100)],
        outputs_info=None,
        non_sequences=x,
    )
    terms.name = "term"
    values = []
    for k, a in enumerate([1.0, 0.0, 2.0]):
        values.append(a * 3.0**k)
    return Case(
        terms.sum(),
        {c: [1.0, 0.0, 2.0], x: 3.0},
        [("c[t]", "sequence"), ("sequence[t]", "sequence"), ("x", "non-sequence")],
        ["term[t] = c[t] * x**sequence[t]"],
        {"sequence[t]": [0, 1, 2], "term[t]": values},
        "a scan of as many steps as c or sequence has",
    )


def neighbours():
    x = pt.dvector("x")
    mean = scan(lambda a, b, c: (a + b + c) / 3, sequences=[{"input": x, "taps": [-1, 0, 1]}])
    mean.name = "mean"
    v = [1.0, 2.0, 6.0, 4.0, 8.0]
    return Case(
        mean,
        {x: v},
        [("x[t]", "sequence"), ("x[t+1]", "sequence"), ("x[t+2]", "sequence")],
        ["mean[t] = (x[t] + x[t+1] + x[t+2]) / 3"],
        {"x[t+2]": v[2:], "mean[t]": [sum(v[k : k + 3]) / 3 for k in range(3)]},
        "a scan of as many steps as x has, less its taps",
    )


def several_outputs():
    x = pt.dvector("x")

    def step(x_t, s):
        s = s + x_t
        s.name = "s"
        return s, s**2, x_t > 2

    outputs = scan(step, sequences=[x], outputs_info=[number(0.0), None, None])
    outputs[1].name, outputs[2].name = "square", "large"
    sums = [1.0, 4.0, 6.0]
    return Case(
        outputs,
        {x: [1.0, 3.0, 2.0]},
        [("x[t]", "sequence"), ("s[t-1]", "state")],
        ["s[t] = s[t-1] + x[t]", "square[t] = s[t]**2", "large[t] = x[t] > 2"],
        {"s[t]": sums, "square[t]": [s * s for s in sums], "large[t]": [False, True, False]},
        "a scan of as many steps as x has",
    )


def until_a_limit():
    """Powers of two, of the documentation: it ends itself."""
    limit = pt.dscalar("limit")
    p = scan(
        lambda p, limit: (p * 2, until(p * 2 > limit)),
        outputs_info=number(1.0),
        non_sequences=limit,
        n_steps=1024,
    )
    p.name = "p"
    values = [2.0]
    while values[-1] <= 45:
        values.append(2 * values[-1])
    return Case(
        p,
        {limit: 45.0},
        [("p[t-1]", "state"), ("limit", "non-sequence")],
        ["p[t] = p[t-1] * 2"],
        {"p[t]": values},
        "a scan of at most 1024 steps; ends after the step where p[t-1] * 2 > limit",
    )


def backwards():
    x = pt.dvector("x")
    s = scan(lambda x_t, s: s + x_t, sequences=[x], outputs_info=[number(0.0)], go_backwards=True)
    s.name = "rest"
    return Case(
        s,
        {x: [1.0, 2.0, 3.0]},
        [("x[t]", "sequence"), ("rest[t-1]", "state")],
        ["rest[t] = rest[t-1] + x[t]"],
        {"x[t]": [3.0, 2.0, 1.0], "rest[t]": [3.0, 5.0, 6.0]},
        "a scan of as many steps as x has; backwards, from the end of its sequences to the "
        "beginning",
    )


def nested():
    M = pt.dmatrix("M")

    def of_row(row, total):
        sums = scan(lambda v, s: s + v, sequences=[row], outputs_info=[number(0.0)])
        sums.name = "sums"
        return total + sums[-1]

    total = scan(of_row, sequences=[M], outputs_info=[number(0.0)])
    total.name = "total"
    return Case(
        total,
        {M: [[1.0, 2.0], [3.0, 4.0]]},
        [("M[t]", "sequence"), ("total[t-1]", "state")],
        ["sums = scan(M[t])", "total[t] = total[t-1] + sums[-1]"],
        {"sums": [[1.0, 3.0], [3.0, 7.0]], "total[t]": [3.0, 10.0]},
        "a scan of as many steps as M has",
    )


def random_walk():
    rng = pt.random.shared_rng(seed=3, name="rng")

    def step(place, rng):
        next_rng, move = rng.normal(0.0, 1.0)
        move.name = "move"
        return place + move, next_rng

    place, _ = scan(step, outputs_info=[number(0.0), rng], n_steps=4)
    place.name = "place"
    draws = rng.get_value()
    moves = [draws.normal(0.0, 1.0) for _ in range(4)]
    places = [sum(moves[: k + 1]) for k in range(4)]
    return Case(
        place,
        {},
        [("place[t-1]", "state"), ("rng[t-1]", "generator")],
        ["rng[t], move = normal(0, 1)", "place[t] = place[t-1] + move"],
        {"move": moves, "place[t]": places},
        "a scan of 4 steps",
    )


def logistic_map():
    r = pytensor.shared(3.7, name="r")
    x = scan(lambda x: r * x * (1 - x), outputs_info=[number(0.4)], n_steps=5)
    x.name = "x"
    values, v = [], 0.4
    for _ in range(5):
        v = 3.7 * v * (1 - v)
        values.append(v)
    return Case(
        x,
        {},
        [("x[t-1]", "state"), ("r", "shared")],
        ["x[t] = r * x[t-1] * (1 - x[t-1])"],
        {"x[t]": values},
        "a scan of 5 steps",
    )


def moving_average():
    x, decay = pt.dvector("x"), pt.dscalar("decay")
    m = scan(
        lambda x_t, m, decay: m + decay * (x_t - m),
        sequences=[x],
        outputs_info=[number(0.0)],
        non_sequences=[decay],
    )
    m.name = "m"
    values, mean = [], 0.0
    for v in [1.0, 5.0, 2.0]:
        mean = mean + 0.5 * (v - mean)
        values.append(mean)
    return Case(
        m[-1],
        {x: [1.0, 5.0, 2.0], decay: 0.5},
        [("x[t]", "sequence"), ("m[t-1]", "state"), ("decay", "non-sequence")],
        ["m[t] = m[t-1] + decay * (x[t] - m[t-1])"],
        {"m[t]": values},
        "a scan of as many steps as x has",
    )


def square_root():
    """Newton's method until two guesses agree."""
    a = pt.dscalar("a")

    def step(guess, a):
        better = (guess + a / guess) / 2
        better.name = "guess"
        return better, until(abs(better - guess) < 1e-6)

    guess = scan(step, outputs_info=[pt.ones_like(a)], non_sequences=[a], n_steps=50)
    values, g = [], 1.0
    while True:
        old, g = g, (g + 2.0 / g) / 2
        values.append(g)
        if abs(g - old) < 1e-6:
            break
    return Case(
        guess,
        {a: 2.0},
        [("guess[t-1]", "state"), ("a", "non-sequence")],
        ["guess[t] = (guess[t-1] + a / guess[t-1]) / 2"],
        {"guess[t]": values},
        "a scan of at most 50 steps; ends after the step where abs(guess[t] - guess[t-1]) < 1e-06",
    )


def greatest_common_divisor():
    a, b = pt.lscalar("a0"), pt.lscalar("b0")
    outputs = scan(
        lambda a, b: ([b, a % b], until(pt.eq(a % b, 0))), outputs_info=[a, b], n_steps=20
    )
    pairs, x, y = [], 48, 18
    while y:
        x, y = y, x % y
        pairs.append((x, y))
    return Case(
        outputs,
        {a: 48, b: 18},
        [("a[t-1]", "state"), ("b[t-1]", "state")],
        ["a[t] = b[t-1]", "b[t] = a[t-1] % b[t-1]"],
        {"a[t]": [p[0] for p in pairs], "b[t]": [p[1] for p in pairs]},
        "a scan of at most 20 steps; ends after the step where a[t-1] % b[t-1] == 0",
    )


def running_maximum():
    x = pt.dvector("x")
    m = scan(lambda x_t, m: pt.maximum(x_t, m), sequences=[x], outputs_info=[x[0]])
    m.name = "m"
    v = [2.0, 1.0, 5.0, 3.0]
    return Case(
        m,
        {x: v},
        [("x[t]", "sequence"), ("m[t-1]", "state")],
        ["m[t] = maximum(x[t], m[t-1])"],
        {"m[t]": [max(v[: k + 1]) for k in range(4)], "m[t-1]": [2.0, 2.0, 2.0, 5.0]},
        "a scan of as many steps as x has",
    )


def squares():
    x = pt.dmatrix("x")
    y = scan(lambda row: (row**2).sum(), sequences=[x])
    y.name = "y"
    return Case(
        y,
        {x: [[1.0, 2.0], [3.0, 4.0]]},
        [("x[t]", "sequence")],
        ["y[t] = sum(x[t]**2)"],
        {"y[t]": [5.0, 25.0]},
        "a scan of as many steps as x has",
    )


def counter():
    n = pt.lscalar("n")
    k = scan(lambda k: k + 1, outputs_info=[pt.constant(0, dtype="int64")], n_steps=n)
    k.name = "k"
    return Case(
        k,
        {n: 3},
        [("k[t-1]", "state")],
        ["k[t] = k[t-1] + 1"],
        {"k[t]": [1, 2, 3]},
        "a scan of n steps",
    )


def rotation():
    R = pytensor.shared(np.array([[0.0, -1.0], [1.0, 0.0]]), name="R")
    v0 = pt.dvector("v0")
    v = scan(lambda v: R @ v, outputs_info=[v0], n_steps=3)
    values, w = [], np.array([1.0, 2.0])
    for _ in range(3):
        w = np.array([-w[1], w[0]])
        values.append(w)
    return Case(
        v,
        {v0: [1.0, 2.0]},
        [("v[t-1]", "state"), ("R", "shared")],
        ["v[t] = R @ v[t-1]"],
        {"v[t]": values},
        "a scan of 3 steps",
    )


def elman_by_hand():
    x, h0 = pt.dmatrix("x"), pt.dvector("h0")
    W_x = pytensor.shared(np.array([[1.0, -1.0]]), name="W_x")
    W_h = pytensor.shared(np.array([[0.5, 0.0], [0.2, -0.5]]), name="W_h")

    def step(x_t, h, W_x, W_h):
        z = x_t @ W_x + h @ W_h
        z.name = "z"
        h = pt.tanh(z)
        h.name = "h_t"
        return h

    h = scan(step, sequences=[x], outputs_info=[h0], non_sequences=[W_x, W_h])
    values, state = [], np.zeros(2)
    for v in [1.0, -0.5, 2.0]:
        state = np.tanh([v + 0.5 * state[0] + 0.2 * state[1], -v + 0.0 * state[0] - 0.5 * state[1]])
        values.append(state)
    return Case(
        h,
        {x: [[1.0], [-0.5], [2.0]], h0: [0.0, 0.0]},
        [("x[t]", "sequence"), ("h[t-1]", "state"), ("W_x", "shared"), ("W_h", "shared")],
        ["z = x[t] @ W_x + h[t-1] @ W_h", "h[t] = tanh(z)"],
        {"z": np.arctanh(values), "h[t]": values},
        "a scan of as many steps as x has",
    )


def echo_state():
    """Of the documentation: several taps of an input, a state and an output."""
    u, x0, y0 = pt.dvector("u"), pt.dvector("x0"), pt.dscalar("y0")

    def step(u_old, u_now, x_old, x_last, y_last):
        x = pt.tanh(u_now + 0.5 * u_old + 0.1 * x_old + 0.2 * y_last)
        x.name = "x"
        y = x_last * 2
        y.name = "y"
        return x, y

    outputs = scan(
        step,
        sequences=[{"input": u, "taps": [-2, 0]}],
        outputs_info=[{"initial": x0, "taps": [-3, -1]}, y0],
    )
    v, xs, ys = [0.1, 0.2, 0.3, 0.4, 0.5], [0.01, 0.02, 0.03], [0.5]
    for t in range(3):
        y_last = ys[-1]
        ys.append(2 * xs[-1])
        xs.append(np.tanh(v[t + 2] + 0.5 * v[t] + 0.1 * xs[-3] + 0.2 * y_last))
    return Case(
        outputs,
        {u: v, x0: xs[:3], y0: 0.5},
        [
            ("u[t]", "sequence"),
            ("u[t+2]", "sequence"),
            ("x[t-3]", "state"),
            ("x[t-1]", "state"),
            ("y[t-1]", "state"),
        ],
        [
            "x[t] = tanh(u[t+2] + 0.5 * u[t] + 0.1 * x[t-3] + 0.2 * y[t-1])",
            "y[t] = x[t-1] * 2",
        ],
        {"u[t]": v[:3], "x[t-3]": xs[:3], "x[t]": xs[3:], "y[t]": ys[1:]},
        "a scan of as many steps as u has, less its taps",
    )


def sum_to_each():
    """Of the documentation: the sum of 0 .. n for each n, by accumulation of a scalar."""
    n = pt.lscalar("n")
    s = scan(
        lambda k, s: s + k,
        sequences=pt.arange(n),
        outputs_info=pt.as_tensor_variable(np.asarray(0, dtype="int64")),
    )
    s.name = "s"
    return Case(
        s,
        {n: 5},
        [("sequence[t]", "sequence"), ("s[t-1]", "state")],
        ["s[t] = s[t-1] + sequence[t]"],
        {"s[t]": [0, 1, 3, 6, 10]},
        "a scan of as many steps as sequence has",
    )


def greedy_decoding():
    """Each symbol is the input of the next step."""
    table = pytensor.shared(np.array([[0.0, 2.0, 1.0], [1.0, 0.0, 3.0], [5.0, 1.0, 0.0]]), "table")

    def step(symbol):
        scores = table[symbol]
        scores.name = "scores"
        return pt.argmax(scores)

    symbol = scan(step, outputs_info=[pt.constant(0, dtype="int64")], n_steps=4)
    symbol.name = "symbol"
    rows, values, s = table.get_value(), [], 0
    for _ in range(4):
        s = max(range(3), key=lambda k, s=s: rows[s][k])
        values.append(s)
    return Case(
        symbol,
        {},
        [("symbol[t-1]", "state"), ("table", "shared")],
        ["scores = table[symbol[t-1]]", "symbol[t] = argmax(scores)"],
        {"symbol[t]": values, "scores": [rows[s] for s in [0, *values[:-1]]]},
        "a scan of 4 steps",
    )


def gradient():
    x, h0, w = pt.dvector("x"), pt.dscalar("h0"), pt.dscalar("w")
    h = scan(
        lambda x_t, h, w: pt.tanh(x_t + w * h),
        sequences=[x],
        outputs_info=[h0],
        non_sequences=[w],
    )
    v, hs = [0.5, -0.3, 0.8], [0.1]
    for a in v:
        hs.append(np.tanh(a + 0.7 * hs[-1]))
    d_z, d_w, d_h, weights, arriving = [], 0.0, 0.0, [], []
    for t in (2, 1, 0):
        d_h = 2 * hs[t + 1] + d_h  # the loss is the sum of h^2
        arriving.append(d_h)
        d_z.append(d_h * (1 - hs[t + 1] ** 2))
        d_w += d_z[-1] * hs[t]
        weights.append(d_w)
        d_h = d_z[-1] * 0.7
    return Case(
        pytensor.grad((h**2).sum(), w),
        {x: v, h0: 0.1, w: 0.7},
        [
            ("h[t-1]", "sequence"),
            ("h[t]", "sequence"),
            ("d_w[t-1]", "state"),
            ("d_h[t] so far", "gradient"),
            ("d_h[t-1] so far", "gradient"),
            ("w", "non-sequence"),
        ],
        [
            "d_w[t] = d_h[t] so far * (1 - h[t]**2) * h[t-1] + d_w[t-1]",
            "d_x[t] = d_h[t] so far * (1 - h[t]**2)",
            "d_h[t-1] = d_h[t] so far * (1 - h[t]**2) * w + d_h[t-1] so far",
        ],
        {"h[t]": hs[:0:-1], "h[t-1]": hs[2::-1], "d_h[t] so far": arriving, "d_x[t]": d_z,
         "d_w[t]": weights},
        "the gradient of a scan of as many steps as h has, less its taps; backwards, from the end "
        "of its sequences to the beginning",
    )  # fmt: skip


def set_at_positions():
    """Of the documentation: an array that is zero but for one number, for each step."""
    location, values, like = pt.imatrix("location"), pt.dvector("values"), pt.dmatrix("like")

    def step(location, value, like):
        zeros = pt.zeros_like(like)
        return pt.set_subtensor(zeros[location[0], location[1]], value)

    result = scan(step, sequences=[location, values], non_sequences=like)
    result.name = "result"
    return Case(
        result,
        {location: [[0, 1], [1, 0]], values: [5.0, 6.0], like: np.ones((2, 2))},
        [("location[t]", "sequence"), ("values[t]", "sequence"), ("like", "non-sequence")],
        [
            "zeros = zeros_like(like)",
            "result[t] = set(zeros[location[t][0], location[t][1]], values[t])",
        ],
        {"result[t]": [[[0, 5], [0, 0]], [[0, 0], [6, 0]]], "zeros": np.zeros((2, 2, 2))},
        "a scan of as many steps as location or values has",
    )


def gibbs_sampling():
    """Of the documentation, with a generator that goes from step to step."""
    W = pytensor.shared(np.array([[1.0, -1.0], [0.5, 2.0]]), name="W")
    v0, rng = pt.dvector("v0"), pt.random.shared_rng(seed=4, name="rng")

    def step(v, rng):
        h_mean = pt.sigmoid(v @ W)
        rng, h = rng.binomial(1, h_mean)
        v_mean = pt.sigmoid(h @ W.T)
        rng, sample = rng.binomial(1, v_mean)
        return sample.astype("float64"), rng

    v, _ = scan(step, outputs_info=[v0, rng], n_steps=3)
    draws, weights, state, hs, vs = rng.get_value(), W.get_value(), np.array([1.0, 0.0]), [], []
    for _ in range(3):
        hs.append(draws.binomial(1, sigmoid(state @ weights)))
        state = draws.binomial(1, sigmoid(hs[-1] @ weights.T))
        vs.append(state)
    return Case(
        v,
        {v0: [1.0, 0.0]},
        [("v[t-1]", "state"), ("rng[t-1]", "generator"), ("W", "shared")],
        [
            "h_mean = sigmoid(v[t-1] @ W)",
            "h = binomial(1, h_mean)",
            "v_mean = sigmoid(h @ W.T)",
            "rng[t], sample = binomial(1, v_mean)",
            "v[t] = float64(sample)",
        ],
        {"h": hs, "v[t]": vs},
        "a scan of 3 steps",
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def library_lstm():
    cell = LSTMCell(1, 2, rng=np.random.default_rng(0))
    x = pt.dtensor3("x")
    h, _ = unroll(cell, x)
    value = np.random.default_rng(1).normal(size=(3, 1, 1))
    W_x, W_h, b = (w.get_value() for w in cell.params)
    state, memory, gates, hs, cs = np.zeros((1, 2)), np.zeros((1, 2)), [], [], []
    for x_t in value:
        i, f, g, o = np.split(x_t @ W_x + b + state @ W_h, 4, axis=1)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(memory)
        gates.append(sigmoid(i))
        hs.append(state)
        cs.append(memory)
    return Case(
        h,
        {x: value},
        [("zx[t]", "sequence"), ("h[t-1]", "state"), ("c[t-1]", "state"), ("W_h", "shared")],
        [
            "n_hidden = W_h.shape[0]",
            "zh_t = h[t-1] @ W_h",
            "z = zx[t] + zh_t",
            "z[0] = z[:, 0:n_hidden]",
            "z[1] = z[:, n_hidden:2 * n_hidden]",
            "z[2] = z[:, 2 * n_hidden:3 * n_hidden]",
            "z[3] = z[:, 3 * n_hidden:4 * n_hidden]",
            "i = sigmoid(z[0])",
            "f = sigmoid(z[1])",
            "g = tanh(z[2])",
            "c[t] = f * c[t-1] + i * g",
            "o = sigmoid(z[3])",
            "h[t] = o * tanh(c[t])",
        ],
        {"i": gates, "h[t]": hs, "c[t]": cs},
        "scan LSTMCell of as many steps as zx has",
    )


def library_gru_masked_and_reversed():
    cell = GRUCell(1, 2, rng=np.random.default_rng(0))
    x, mask = pt.dtensor3("x"), pt.dmatrix("mask")
    h, _ = unroll(cell, x, mask=mask, reverse=True)
    value = np.random.default_rng(1).normal(size=(3, 2, 1))
    valid = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    W_x, W_h, b, b_hn = (w.get_value() for w in cell.params)
    state, us, hs = np.zeros((2, 2)), [], []
    for x_t, m in zip(value[::-1], valid[::-1], strict=True):
        (xr, xu, xn), (hr, hu, hn) = (
            np.split(a, 3, axis=1) for a in (m[:, None] * x_t @ W_x + b, state @ W_h)
        )
        r, u = sigmoid(xr + hr), sigmoid(xu + hu)
        new = (1 - u) * np.tanh(xn + r * (hn + b_hn)) + u * state
        state = np.where(m[:, None] > 0, new, state)
        us.append(u)
        hs.append(state)
    return Case(
        h,
        {x: value, mask: valid},
        [
            ("zx[t]", "sequence"),
            ("valid[t]", "sequence"),
            ("h[t-1]", "state"),
            ("W_h", "shared"),
            ("b_hn", "shared"),
        ],
        [
            "n_hidden = W_h.shape[0]",
            "zh_t = h[t-1] @ W_h",
            "zx[0] = zx[t][:, 0:n_hidden]",
            "zx[1] = zx[t][:, n_hidden:2 * n_hidden]",
            "zx[2] = zx[t][:, 2 * n_hidden:3 * n_hidden]",
            "zh[0] = zh_t[:, 0:n_hidden]",
            "zh[1] = zh_t[:, n_hidden:2 * n_hidden]",
            "zh[2] = zh_t[:, 2 * n_hidden:3 * n_hidden]",
            "r = sigmoid(zx[0] + zh[0])",
            "u = sigmoid(zx[1] + zh[1])",
            "n = tanh(zx[2] + r * (zh[2] + b_hn))",
            "h[t] = where(valid[t], (1 - u) * n + u * h[t-1], h[t-1])",
        ],
        {"u": us, "h[t]": hs},
        "scan GRUCell of as many steps as zx or valid has",
    )


def bidirectional_elman():
    cells = [ElmanCell(1, 2, rng=np.random.default_rng(k)) for k in range(2)]
    Module(a=cells[0], b=cells[1])  # the names of their weights begin with a and b
    x = pt.dtensor3("x")
    outputs, _ = bidirectional(*cells, x)
    value = np.random.default_rng(1).normal(size=(3, 1, 1))
    W_x, W_h, b = (w.get_value() for w in cells[0].params)
    state, hs = np.zeros((1, 2)), []
    for x_t in value:
        state = np.tanh(x_t @ W_x + b + state @ W_h)
        hs.append(state)
    return Case(
        outputs,
        {x: value},
        [("zx[t]", "sequence"), ("h[t-1]", "state"), ("a.W_h", "shared")],
        ["zh_t = h[t-1] @ a.W_h", "z = zx[t] + zh_t", "h[t] = tanh(z)"],
        {"h[t]": hs},
        "scan ElmanCell of as many steps as zx has",
        scan=0,
    )


def two_layers():
    """Two cells, whose weights have different names, an input, and its value."""
    rng, x = np.random.default_rng(0), pt.dtensor3("x")
    cells = [ElmanCell(1, 2, rng=rng), ElmanCell(2, 2, rng=rng)]
    Module(a=cells[0], b=cells[1])
    return cells, x, np.random.default_rng(1).normal(size=(4, 1, 1))


CASES = [
    cumulative_sum, fibonacci, powers, polynomial, neighbours, several_outputs, until_a_limit,
    backwards, nested, random_walk, logistic_map, moving_average, square_root,
    greatest_common_divisor, running_maximum, squares, counter, rotation, elman_by_hand,
    echo_state, sum_to_each, greedy_decoding, gradient, library_lstm,
    library_gru_masked_and_reversed, bidirectional_elman, set_at_positions, gibbs_sampling,
]  # fmt: skip

each_case = pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
