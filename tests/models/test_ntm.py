import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad
from pytensor.graph.replace import graph_replace

from symrnn.compiling.modes import QUICK
from symrnn.models.ntm.model import NeuralTuringMachine, answer_loss, wrong_bits
from symrnn.nn.cells import ElmanCell, GRUCell, LSTMCell
from symrnn.nn.wrappers import Zoneout

N_SLOTS, WIDTH, N_HIDDEN = 5, 3, 4


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softplus(z):
    return np.log1p(np.exp(z))


def softmax(z):
    return np.exp(z) / np.exp(z).sum()


def machine(n_heads=1, cell=LSTMCell, **options):
    rng = np.random.default_rng(1)
    made = NeuralTuringMachine(
        2, 2, N_HIDDEN, rng=rng, n_slots=N_SLOTS, width=WIDTH, n_heads=n_heads, cell=cell, **options
    )
    made.heads.W.set_value(2 * made.heads.W.get_value())  # heads that do something
    return made


def by_loops(net, x, n_slots=N_SLOTS):
    """One sequence, (time, features), head after head and slot after slot."""
    (W_x, W_h, b), n_heads = [p.get_value() for p in net.controller.params], net.heads.n_heads
    W_heads, b_heads, W, b_out = (p.get_value() for p in [*net.heads.params, *net.output.params])
    M = np.full((n_slots, WIDTH), net.blank)
    w = np.zeros((2 * n_heads, n_slots))
    w[:, 0] = 1
    r, h, c = np.tile(M[0], n_heads), np.zeros(N_HIDDEN), np.zeros(N_HIDDEN)  # w reads slot 0
    logits, weightings = [], []
    n = WIDTH + 6
    for x_t in x:
        z = np.concatenate([x_t, r]) @ W_x + h @ W_h + b
        if isinstance(net.controller, LSTMCell):
            i, f, g, o = np.split(z, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            h = np.tanh(z)
        z = h @ W_heads + b_heads
        for j in range(2 * n_heads):
            k, (beta, g), s, gamma = np.split(z[j * n : (j + 1) * n], [WIDTH, WIDTH + 2, n - 1])
            k, s = np.tanh(k), softmax(s)
            K = [
                k @ m / np.sqrt(k @ k + 1e-6) / np.sqrt(m @ m + 1e-6)
                for m in M
            ]  # fmt: skip
            w_c = softmax(softplus(beta) * np.array(K))
            w_g = sigmoid(g) * w_c + (1 - sigmoid(g)) * w[j]
            w_s = np.zeros(n_slots)
            for slot in range(n_slots):
                for by, share in zip(net.heads.shifts, s, strict=True):
                    w_s[slot] += share * w_g[(slot - by) % n_slots]
            power = (w_s + 1e-6) ** (1 + softplus(gamma))
            w[j] = power / power.sum()
        e, a = np.split(z[2 * n_heads * n :].reshape(-1, WIDTH), 2)
        for j in range(n_heads):
            M = M * (1 - np.outer(w[j], sigmoid(e[j])))
        for j in range(n_heads):
            M = M + np.outer(w[j], np.tanh(a[j]))
        r = np.concatenate([w[n_heads + j] @ M for j in range(n_heads)])
        logits.append(np.concatenate([h, r]) @ W + b_out)
        weightings.append(w.copy())
    return np.array(logits), np.array(weightings), M


def traced(net, x, n_slots=None):
    variable = pt.dtensor3("x")
    trace = net.run(variable, n_slots=n_slots)
    outputs = [trace.logits, trace.write, trace.read, trace.M, *trace.parameters]
    return pytensor.function([variable], outputs, mode=QUICK)(x)


@pytest.mark.parametrize(("n_heads", "cell"), [(1, LSTMCell), (2, ElmanCell)])
def test_the_scan_is_a_plain_loop(n_heads, cell):
    net, x = machine(n_heads, cell), np.random.default_rng(2).normal(size=(6, 3, 2))
    logits, write, read, M, *_ = traced(net, x)
    for j in range(3):
        expected, weightings, memory = by_loops(net, x[:, j])
        np.testing.assert_allclose(logits[:, j], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(write[:, j], weightings[:, :n_heads], rtol=0, atol=1e-12)
        np.testing.assert_allclose(read[:, j], weightings[:, n_heads:], rtol=0, atol=1e-12)
        np.testing.assert_allclose(M[-1, j], memory, rtol=0, atol=1e-12)


def test_no_weight_depends_on_the_number_of_slots():
    net, x = machine(), np.random.default_rng(2).normal(size=(4, 1, 2))
    expected, _, memory = by_loops(net, x[:, 0], n_slots=9)
    logits = traced(net, x, n_slots=9)[0]
    np.testing.assert_allclose(logits[:, 0], expected, rtol=0, atol=1e-12)
    assert memory.shape == (9, WIDTH)


def test_the_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(3)
    net = NeuralTuringMachine(2, 1, 2, rng=rng, n_slots=3, width=2)
    x, t = rng.normal(size=(3, 1, 2)), rng.integers(2, size=(2, 1, 1)).astype(float)

    def loss(*weights):
        return graph_replace(net.loss(x, t), dict(zip(net.params, weights, strict=True)))

    verify_grad(loss, [p.get_value() for p in net.params], rng=rng, mode=QUICK)


def test_weightings_and_head_parameters_keep_to_their_ranges():
    net, x = machine(2), 3 * np.random.default_rng(4).normal(size=(8, 2, 2))
    _, write, read, M, k, beta, g, s, gamma, e, a = traced(net, x)
    assert write.shape == read.shape == (8, 2, 2, N_SLOTS)
    assert M.shape == (8, 2, N_SLOTS, WIDTH)
    for w in (write, read, s):
        np.testing.assert_allclose(w.sum(axis=-1), 1, rtol=1e-12)
        assert (w >= 0).all()
    assert (abs(k) < 1).all()
    assert (abs(a) < 1).all()
    assert (beta > 0).all()
    assert (gamma > 1).all()
    for share in (g, e):
        assert ((share > 0) & (share < 1)).all()


def with_head_parameters(net, **wanted):
    """Give the heads of a machine the same parameters at all steps, by their biases."""
    n = WIDTH + 6
    z = np.zeros(2 * n + 2 * WIDTH)
    positions = {"beta": WIDTH, "g": WIDTH + 1, "s": slice(WIDTH + 2, n - 1), "gamma": n - 1}
    for j in (0, 1):
        for name, value in wanted.items():
            if name in positions:
                z[j * n : (j + 1) * n][positions[name]] = value
    z[2 * n : 2 * n + WIDTH], z[2 * n + WIDTH :] = wanted.get("e", 0), wanted.get("a", 0)
    net.heads.W.set_value(0 * net.heads.W.get_value())
    net.heads.b.set_value(z)
    return net


def test_heads_that_stay_and_shift_go_round_the_memory():
    net = with_head_parameters(machine(), g=-30, s=[-30, -30, 30], gamma=20)
    _, write, read, *_ = traced(net, np.zeros((7, 1, 2)))
    assert write[:, 0, 0].argmax(axis=1).tolist() == [1, 2, 3, 4, 0, 1, 2]
    np.testing.assert_allclose(write, read)
    assert write.max(axis=3).min() > 1 - 1e-6


def test_what_is_written_is_there_and_erased_before():
    net = with_head_parameters(machine(), g=-30, s=[-30, 30, -30], gamma=20, e=30, a=[30, -30, 30])
    M = traced(net, np.zeros((3, 1, 2)))[3]
    np.testing.assert_allclose(M[-1, 0, 0], [1, -1, 1], atol=1e-4)
    np.testing.assert_allclose(M[-1, 0, 1:], 0, atol=1e-4)


def test_a_strong_key_finds_what_was_written():
    net = machine()
    M = np.random.default_rng(5).normal(size=(1, N_SLOTS, WIDTH))
    z = pt.as_tensor_variable(np.zeros((1, 2 * (WIDTH + 6) + 2 * WIDTH)))
    parameters = net.heads.parameters_of(z)._replace(
        k=pt.as_tensor_variable(M[:, [3, 1]]), beta=200.0, g=1.0, gamma=1.0,
        s=pt.as_tensor_variable(np.array([[[0.0, 1, 0], [1.0, 0, 0]]])),
    )  # fmt: skip
    w = net.heads.address(parameters, pt.zeros((1, 2, N_SLOTS)), pt.as_tensor_variable(M))
    assert w.eval(mode=QUICK)[0].argmax(axis=1).tolist() == [3, 0]  # the second goes one back


def test_an_answer_is_what_comes_last():
    logits = np.array([[[9.0]], [[-9.0]], [[9.0]], [[-9.0]]])
    t = np.array([[[1.0]], [[1.0]]])
    loss, wrong = pytensor.function(
        [], [answer_loss(logits, t), wrong_bits(logits, t)], mode=QUICK
    )()
    assert wrong == 0.5
    assert loss == pytest.approx((np.log1p(np.exp(-9)) + np.log1p(np.exp(9))) / 2)


def test_a_float32_machine_stays_one_and_is_the_loop_whatever_is_the_default():
    with pytensor.config.change_flags(floatX="float32"):
        net = machine()
    x = np.random.default_rng(2).normal(size=(4, 2, 2))
    logits, *rest = traced(net, x)
    assert {part.dtype for part in (logits, *rest)} == {np.dtype("float32")}
    np.testing.assert_allclose(logits[:, 0], by_loops(net, x[:, 0])[0], atol=1e-5)


def test_the_compiled_test_and_trace_are_those_of_the_graph():
    net, rng = machine(), np.random.default_rng(2)
    x, t = rng.normal(size=(5, 3, 2)), rng.integers(2, size=(2, 3, 2)).astype(float)
    logits, write, read, M, *_ = traced(net, x, 4)
    loss, wrong = net.compile_test(n_slots=4)(x, t)
    p = 1 / (1 + np.exp(-logits[-2:]))
    assert loss == pytest.approx(-np.log(np.where(t, p, 1 - p)).mean(), rel=1e-12)
    assert wrong == np.mean((p > 0.5) != t)
    found_p, *rest = net.compile_trace(n_slots=4)(x)
    np.testing.assert_allclose(found_p[-2:], p, rtol=1e-12)
    r = np.einsum("tbhs,tbsw->tbhw", read, M)
    for found, expected in zip(rest, (write, read, r, M), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_logit_that_is_nan_is_wrong():
    logits, t = np.full((3, 1, 2), np.nan), np.array([[[0.0, 1.0]]])
    assert wrong_bits(logits, t).eval(mode=QUICK) == 1


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(1)
    z, t = np.zeros((5, 2, 2)), np.zeros((2, 2, 2))
    for call, message in (
        (lambda: NeuralTuringMachine(2, 2, 4, rng=rng, n_slots=0), "n_slots is 0"),
        (lambda: NeuralTuringMachine(2, 2, 4, rng=rng, n_heads=0), "n_heads is 0"),
        (lambda: NeuralTuringMachine(2, 2, 4, rng=rng, shifts=()), "shifts is ()"),
        (lambda: NeuralTuringMachine(2, 2, 4, rng=rng, shifts=(1, 1)), "shifts is .1, 1."),
        (lambda: NeuralTuringMachine(2, 2, 4, rng=rng, shifts=(0.5, 1)), "shifts is .0.5, 1."),
        (lambda: NeuralTuringMachine(2, 2, 4, rng=rng, blank=np.nan), "blank is nan"),
        (lambda: NeuralTuringMachine(2, 2, 4, rng=rng, cell=GRUCell), "GRUCell cannot be"),
        (
            lambda: NeuralTuringMachine(
                2,
                2,
                4,
                rng=rng,
                cell=lambda *a, **k: Zoneout(LSTMCell(*a, **k), {"h": 0.1}, rng=rng),
            ),
            "Zoneout cannot be the controller",
        ),
        (lambda: machine().run(np.zeros((4, 1, 2)), n_slots=0), "n_slots is 0"),
        (lambda: machine().run(np.zeros((4, 1, 2)), n_slots=2.5), "n_slots is 2.5"),
        (lambda: wrong_bits(z, t[:, :1]).eval(mode=QUICK), "the answer t must have shape"),
        (
            lambda: answer_loss(z, np.zeros((6, 2, 2))).eval(mode=QUICK),
            "from 1 to time steps|differ in shape",
        ),
        (lambda: answer_loss(z, t[0]), "have 2 and 3 axes"),
        (lambda: machine().run(pt.matrix("x")), "x has shape .None, None., but must be"),
        (lambda: machine().run(np.zeros((4, 1, 3))), "2 features, as many as the machine"),
        (lambda: traced(machine(), np.zeros((4, 1, 3))), "2 features, as many as the machine"),
        (lambda: traced(machine(), np.zeros((0, 1, 2))), "at least one step"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="x has dtype int64"):
        machine().run(pt.ltensor3("x"))
