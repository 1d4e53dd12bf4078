"""Scans that are unusual: what a stranger's review of `symrnn.explain` was about."""

import cProfile

import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.builders import OpFromGraph
from pytensor.scan import until
from scan_gallery import number, scan

from symrnn.explain import check, describe, draw, draw_step, first_nonfinite, gradient_flow, trace
from symrnn.explain.description import headline
from symrnn.nn.cells import ElmanCell
from symrnn.nn.recurrent import bidirectional, stack, unroll

X = np.arange(1.0, 6.0) / 5
ZERO = number(0.0)


def two_layers():
    rng, x = np.random.default_rng(0), pt.dtensor3("x")
    cells = [ElmanCell(1, 2, rng=rng), ElmanCell(2, 2, rng=rng)]
    return cells, x, np.random.default_rng(1).normal(size=(4, 1, 1))


def test_all_layers_of_a_stack_are_found():
    cells, x, value = two_layers()
    first, _ = unroll(cells[0], x)
    second, _ = unroll(cells[1], first)
    scans = describe(second).scans
    assert [s.arguments[-1].name for s in scans] == ["a.W_h", "b.W_h"]
    assert scans[1].arguments[0].source == "h @ b.W_x + b.b"
    f = pytensor.function([x], [first, second], mode="FAST_COMPILE")
    for k, h in enumerate(f(value)):
        np.testing.assert_allclose(trace(second, {x: value}, scan=k)["h"], h, rtol=1e-12)
    cells[0].W_h.set_value(np.full((2, 2), np.nan))
    found = first_nonfinite(second, {x: value})
    assert (found.step, found.name, found.comes_from) == (0, "a.W_h", "outside")


def test_gradient_flows_through_all_layers():
    cells, x, value = two_layers()
    first, _ = unroll(cells[0], x)
    second, _ = unroll(cells[1], first)
    flows = gradient_flow((second[-1] ** 2).sum(), [first, second], {x: value})
    assert [len(f) for f in flows] == [4, 4]
    assert all((f > 0).all() for f in flows)
    eps = 1e-6  # the last state of the first layer acts through the second layer's last step alone
    h = pytensor.function([x], first, mode="FAST_COMPILE")(value)
    g, _ = unroll(cells[1], pt.as_tensor_variable(h))
    moved = []
    for j in range(2):
        both = []
        for sign in (-1, 1):
            shifted = h.copy()
            shifted[-1, 0, j] += sign * eps
            g, _ = unroll(cells[1], pt.as_tensor_variable(shifted))
            both.append(float((g[-1] ** 2).sum().eval()))
        moved.append((both[1] - both[0]) / (2 * eps))
    np.testing.assert_allclose(flows[0][-1], np.linalg.norm(moved), rtol=1e-6)


def test_gradient_flow_refuses_a_mixture_of_states():
    rng, x = np.random.default_rng(0), pt.dtensor3("x")
    outputs, _ = bidirectional(ElmanCell(1, 2, rng=rng), ElmanCell(1, 2, rng=rng), x)
    with pytest.raises(ValueError, match="made of the states of several scans"):
        gradient_flow(outputs.sum(), outputs, {x: np.ones((3, 1, 1))})
    outputs, states = stack([ElmanCell(1, 2, rng=rng)], x, residual=True)
    assert len(gradient_flow(states[0].h.sum(), outputs, {x: np.ones((3, 1, 1))})) == 3


def test_gradient_flow_of_a_scan_that_ends_itself():
    x = pt.dvector("x")
    s = scan(lambda a, s: (s / 2 + a, until(s > 0.5)), sequences=[x], outputs_info=[ZERO])
    steps = len(trace(s, {x: X}).steps)
    assert steps < 5
    np.testing.assert_allclose(gradient_flow(s[-1], s, {x: X}), 0.5 ** np.arange(steps)[::-1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_generators_that_update_themselves_stay_as_they_are():
    with pytest.warns(FutureWarning, match="deprecated"):
        stream = pt.random.RandomStream(seed=5)
    s = scan(lambda a, s: s + a, sequences=[stream.normal(size=(4,))], outputs_info=[ZERO])
    before = trace(s, {})["state"]
    assert first_nonfinite(s) is None
    gradient_flow(s[-1], s)
    np.testing.assert_array_equal(trace(s, {})["state"], before)
    f = pytensor.function([], s, mode="FAST_COMPILE", no_default_updates=True)
    np.testing.assert_array_equal(f(), before)


def test_values_that_are_written_alike_are_kept_apart():
    M = pt.dmatrix("M")
    two = OpFromGraph([q := pt.dscalar("q")], [pt.log(q), q * 2], name="two")
    s = scan(
        lambda a, m: m + pt.switch(a > 0, 1, two(a)[0]) + two(a)[1],
        sequences=[M[0]],
        outputs_info=[ZERO],
    )
    found = first_nonfinite(s, {M: [[1.0, -1.0]]})
    assert (found.step, found.name) == (1, "two(sequence[t])[0]")
    difference = scan(lambda a: a[:, None] - a[None, :], sequences=[M])
    traced = trace(difference, {M: np.arange(6.0).reshape(3, 2)}, everything=True)
    assert traced["M[t]"].shape == (3, 2)
    np.testing.assert_array_equal(traced["M[t][:, None]"][:, :, 0], traced["M[t]"])


def test_both_directions_in_one_scan_are_told_apart():
    x = pt.dvector("x")
    s = scan(lambda a, b, s: s + a * 2 + b, sequences=[x, x[::-1]], outputs_info=[ZERO])
    s.name = "s"
    (found,) = describe(s).scans
    assert found.equations == ["s[t] = s[t-1] + x[t] * 2 + x[::-1][t]"]
    assert headline(found) == "a scan of as many steps as x has"
    traced = trace(s, {x: X})
    np.testing.assert_array_equal(traced["x[t]"], X)
    np.testing.assert_array_equal(traced["x[::-1][t]"], X[::-1])


@pytest.mark.parametrize("n", [3, None])
def test_a_known_number_of_steps_does_not_hide_names_and_direction(n):
    x = pt.dvector("x")
    s = scan(
        lambda a, b, s: s + a * b,
        sequences=[{"input": x, "taps": [-1, 1]}],
        outputs_info=[ZERO],
        n_steps=n,
        go_backwards=True,
    )
    s.name = "s"
    (found,) = describe(s).scans
    assert found.equations == ["s[t] = s[t-1] + x[t] * x[t+2]"]
    assert found.backwards
    np.testing.assert_array_equal(trace(s, {x: X})["x[t+2]"][:3], X[:1:-1])


def test_gradients_of_several_scans_have_the_names_of_their_own():
    x, u, v, q = pt.dvector("x"), pt.dvector("u"), pt.dscalar("v"), pt.dscalar("q")
    a = scan(lambda x, a, v: x + v * a, sequences=[x], outputs_info=[ZERO], non_sequences=[v])
    b = scan(lambda u, b, q: u + q * b, sequences=[u], outputs_info=[ZERO], non_sequences=[q])
    a.name, b.name = "a", "b"
    gradients = pytensor.grad(a.sum() + b.sum(), [x, u, v, q])
    names = {
        frozenset(r.name for r in s.results)
        for s in describe(gradients).scans
        if s.name.startswith("grad_of")
    }
    assert names == {
        frozenset({"d_a[t-1]", "d_v[t]", "d_x[t]"}),
        frozenset({"d_b[t-1]", "d_q[t]", "d_u[t]"}),
    }


M, NUMBERS = pt.dmatrix("M"), pt.lvector("i")


@pytest.mark.parametrize(
    ("step", "sequence", "text"),
    [
        (lambda a: a[:, None] - a[None, :], M, "M[t][:, None] - M[t]"),
        (lambda a: pt.outer(a, a), M, "M[t][:, None] @ M[t][None, :]"),
        (lambda i: M[:, i], NUMBERS, "M[:, i[t]]"),
        (lambda a: pt.split(a, splits_size=[1, 1], n_splits=2)[1], M, "split(M[t])[1]"),
        (lambda a: pt.concatenate([a, a[:1]]), M, "concatenate([M[t], M[t][:1]])"),
        (lambda a: pt.stack([a, a * 2]), M, "stack([M[t], M[t] * 2])"),
        (lambda a: pt.stack([a, a * 2], axis=1), M, "stack([M[t], M[t] * 2], axis=1)"),
        (lambda a: pt.set_subtensor(a[1:], 0.0), M, "set(M[t][1:], 0)"),
        (lambda a: pt.special.softmax(a, axis=0), M, "softmax(M[t], axis=0)"),
        (lambda a: (a > 1) | (a < 0) & (a > -1), M, "(M[t] > 1) | (M[t] < 0) & (M[t] > -1)"),
        (lambda a: ((a > 1) | (a < 0)) & (a > -1), M, "((M[t] > 1) | (M[t] < 0)) & (M[t] > -1)"),
        (lambda i: i * (i % 3), NUMBERS, "i[t] * (i[t] % 3)"),
        (lambda i: i * (i // 3), NUMBERS, "i[t] * (i[t] // 3)"),
        (lambda i: pt.eq(i > 0, i < 5), NUMBERS, "(i[t] > 0) == (i[t] < 5)"),
        (lambda i: ~(i > 0) & (i < 5), NUMBERS, "~(i[t] > 0) & (i[t] < 5)"),
        (lambda i: i - (i - 1), NUMBERS, "i[t] - (i[t] - 1)"),
        (lambda a: -(a**2) / (a / 2), M, "-M[t]**2 / (M[t] / 2)"),
    ],
)
def test_expressions_say_what_is_computed(step, sequence, text):
    y = scan(step, sequences=[sequence])
    y.name = "y"
    assert describe(y).scans[0].equations == [f"y[t] = {text}"]


def test_numbered_names_leave_those_of_the_user_alone():
    x, v1 = pt.dvector("x"), pt.dscalar("v1")

    def step(a, s, v1):
        t = pt.tanh(a * v1)
        return s + t + t**2

    s = pytensor.scan(
        step, sequences=[x], outputs_info=[ZERO], non_sequences=[v1], return_updates=False
    )
    s.name = "s"
    assert describe(s).scans[0].equations[0] == "v2 = tanh(x[t] * v1)"


def test_a_long_scan_is_refused_before_anything_large_is_made():
    h, n = pt.dvector("h0"), pt.lscalar("n")
    s = scan(lambda h: h * 1.0001, outputs_info=[h], n_steps=n)
    inputs = {h: np.ones(1000), n: 10**9}
    with pytest.raises(MemoryError, match=r"would take 1\.6e"):
        trace(s, inputs)
    np.testing.assert_allclose(trace(s, inputs, steps=range(3))["h"][2], 1.0001**3)


def test_steps_are_put_in_order_and_checked():
    x = pt.dvector("x")
    s = scan(lambda a, s: s + a, sequences=[x], outputs_info=[ZERO])
    traced = trace(s, {x: X}, steps=[3, -1, 1, 3])
    assert traced.steps == [1, 3, 4]
    np.testing.assert_allclose(traced["state"], np.cumsum(X)[[1, 3, 4]])
    with pytest.raises(ValueError, match="there is no step 5: the scan makes 5 steps"):
        trace(s, {x: X}, steps=[5])
    empty = trace(s, {x: []})
    assert (empty.steps, len(empty["state"])) == ([], 0)
    e = scan(lambda s: (s + 1, until(s > 2)), outputs_info=[ZERO], n_steps=50)
    with pytest.raises(ValueError, match="no step 20: the scan ended after 4 steps"):
        trace(e, steps=[1, 20])


def test_a_nan_inside_an_inner_scan_is_found_there():
    M = pt.dmatrix("M")

    def of_row(row, total):
        logs = scan(lambda v, s: s + pt.log(v), sequences=[row], outputs_info=[ZERO])
        return total + logs[-1]

    total = scan(of_row, sequences=[M], outputs_info=[ZERO])
    found = first_nonfinite(total, {M: [[1.0, 2.0], [3.0, -1.0]]})
    assert found.scan == "a scan inside step 1 of a scan"
    assert (found.step, found.name.startswith("log(")) == (1, True)


def test_infinities_can_be_left_alone():
    x = pt.dvector("x")
    m = scan(lambda a, m: pt.maximum(a, m), sequences=[x], outputs_info=[number(-np.inf)])
    assert first_nonfinite(m, {x: X}).comes_from == "outside"
    assert first_nonfinite(m, {x: X}, infinite=False) is None
    assert first_nonfinite(m, {x: [1.0, np.nan]}, infinite=False).step == 1


def test_pictures_of_odd_scans_can_be_saved(tmp_path):
    x = pt.dvector("x")
    p = pt.dvector("price_$_0")
    s = scan(
        lambda a, b, c, p4, p2: (a + b + c + p4 - p2) / 2,
        sequences=[{"input": x, "taps": [-2, 0, 1]}],
        outputs_info=[{"initial": p, "taps": [-4, -2]}],
        go_backwards=True,
    )
    for figure in (draw(s), draw_step(s), draw(pytensor.grad(s.sum(), x))):
        figure.savefig(tmp_path / "scan.png")
        plt.close(figure)
    texts = [t.get_text() for t in draw(s).axes[1].texts]
    plt.close("all")
    assert "x[T-4], x[T-2], x[T-1]" in texts


def test_what_scan_returns_in_its_old_style_can_be_described():
    x = pt.dvector("x")
    with pytest.warns(DeprecationWarning, match="."):
        both = pytensor.scan(lambda a, s: s + a, sequences=[x], outputs_info=[ZERO])
    assert len(describe(both).scans) == 1
    with pytest.raises(TypeError, match="'q' is no variable"):
        describe("q")


def test_inputs_are_not_cast_without_a_word():
    k = pt.lvector("k")
    s = scan(lambda a, s: s + a, sequences=[k], outputs_info=[ZERO])
    with pytest.raises(ValueError, match="dtype float64, but k is int64"):
        trace(s, {k: [1.7, 2.9]})


RNG = pt.random.shared_rng(seed=1, name="rng")


@pytest.mark.parametrize(
    ("fn", "options", "problem"),
    [
        (
            lambda s, r: (s + r.normal()[1], r),
            {"outputs_info": [ZERO, RNG]},
            "returns it as it was",
        ),
        (lambda s: None, {"outputs_info": [ZERO]}, "its return is missing"),
        (lambda s: 1.0, {"outputs_info": [ZERO]}, "1.0, which is no variable"),
        (lambda s: (until(s > 3), s + 1), {"outputs_info": [ZERO]}, "must be the last thing"),
        (lambda a: a, {"sequences": [{"taps": [0]}]}, "must be an array or a variable"),
        (lambda a: a, {"sequences": ["x"]}, r"sequences\[0\] is 'x'"),
    ],
)
def test_more_mistakes_are_told_in_words(fn, options, problem):
    report = check(fn, **options, n_steps=4)
    assert not report
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(str(report))


@pytest.mark.filterwarnings("ignore:RandomVariable Ops")
def test_a_right_step_is_left_alone():
    assert check(lambda a, h: a + h, [M], [np.zeros(3)])
    assert check(lambda a: a, [M], [{"initial": None}])
    with pytest.warns(FutureWarning, match="deprecated"):
        stream = pt.random.RandomStream(seed=5)
    report = check(lambda s: s + stream.normal(), outputs_info=[ZERO], n_steps=4)
    assert report
    assert "return_updates=True" in str(report)


def test_a_profiler_goes_on_after_a_trace():
    def later():
        return 1

    x = pt.dtensor3("x")
    outputs, _ = unroll(ElmanCell(1, 2, rng=np.random.default_rng(0)), x)
    with cProfile.Profile() as profiler:
        trace(outputs, {x: np.ones((2, 1, 1))})
        later()
    assert later.__code__ in [entry.code for entry in profiler.getstats()]
