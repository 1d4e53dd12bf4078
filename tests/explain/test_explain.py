"""Describe, trace and draw: against what is written by hand, and against plain loops."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from PIL import Image
from pytensor.scan import until
from scan_gallery import CASES, fibonacci, gradient, library_lstm, nested, number, random_walk, scan

from symrnn.compiling.modes import QUICK
from symrnn.explain import (
    animate,
    check,
    describe,
    draw,
    draw_states,
    draw_step,
    first_nonfinite,
    gradient_flow,
    local_names,
    trace,
)
from symrnn.explain.description import headline
from symrnn.nn.cells import LinearCell, LSTMCell
from symrnn.nn.recurrent import unroll


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
def case(request):
    return request.param()


def test_describe_says_what_is_written_by_hand(case):
    found = describe(case.outputs).scans[case.scan]
    assert [(a.name, a.kind) for a in found.arguments] == case.arguments
    assert found.equations == case.equations
    assert headline(found) == case.headline


def test_trace_shows_the_values_of_a_plain_loop(case):
    traced = trace(case.outputs, case.inputs, scan=case.scan)
    for name, expected in case.values.items():
        np.testing.assert_allclose(traced[name], expected, rtol=1e-12, atol=1e-14, err_msg=name)
    assert str(traced)


def test_a_picture_can_be_drawn_and_saved(case, tmp_path):
    figure = draw(case.outputs, case.scan)
    figure.savefig(tmp_path / "scan.svg")
    plt.close(figure)
    plt.close(draw_step(case.outputs, scan=case.scan))
    assert (tmp_path / "scan.svg").stat().st_size > 1000


@pytest.mark.parametrize("mode", ["FAST_COMPILE", pytest.param("CVM", marks=pytest.mark.slow)])
def test_a_trace_in_another_mode_is_the_same(mode):
    for make in (fibonacci, gradient, nested, random_walk):
        case = make()
        traced = trace(case.outputs, case.inputs, mode=mode)
        for name, expected in case.values.items():
            np.testing.assert_allclose(traced[name], expected, rtol=1e-12, atol=1e-14)


def test_a_description_is_text_and_html_and_data():
    description = describe(fibonacci().outputs)
    assert str(description).splitlines() == [
        "a scan of 8 steps",
        "arguments of a step",
        "  f[t-2]  state                           starts with f0 (a vector, int64)",
        "  f[t-1]  state                           starts with f0 (a vector, int64)",
        "a step",
        "  f[t] = f[t-2] + f[t-1]",
        "results",
        "  f[t]    fed back as f[t-2] and f[t-1]   asked for: all steps",
    ] or str(description)
    assert "<td>f[t-2]</td>" in description._repr_html_()
    (data,) = json.loads(json.dumps(description.as_data()))
    assert data["results"] == [
        {"name": "f[t]", "kind": "fed back", "taps": [-2, -1], "asked_for": "all steps"}
    ]


def test_a_description_tells_what_is_asked_for():
    cell, x = LSTMCell(2, 3, rng=np.random.default_rng(0)), pt.tensor3("x")
    with local_names():
        outputs, state = unroll(cell, x, implementation="scan")
    asked = [
        {r.name: r.asked_for for r in describe(v).scans[0].results} for v in (outputs, state.c)
    ]
    assert asked[0] == {"h[t]": "all steps", "c[t]": "no"}
    assert asked[1] == {"h[t]": "no", "c[t]": "the last step"}


def test_truncation_is_told():
    x = pt.dvector("x")
    s = scan(lambda x_t, s: s + x_t, sequences=[x], outputs_info=[number(0.0)], truncate_gradient=4)
    assert headline(describe(s).scans[0]).endswith("its gradient goes back 4 steps")


def test_local_names_of_a_step_become_equations():
    def step(x_t, h):
        gate = pt.sigmoid(x_t)
        return gate * h

    x = pt.dvector("x")
    with local_names():
        h = scan(step, sequences=[x], outputs_info=[number(1.0)])
    h.name = "h"
    assert describe(h).scans[0].equations == ["gate = sigmoid(x[t])", "h[t] = gate * h[t-1]"]


def test_chosen_steps_equal_those_of_the_whole_trace():
    for make in (fibonacci, random_walk, library_lstm):
        case = make()
        whole, part = (
            trace(case.outputs, case.inputs),
            trace(case.outputs, case.inputs, steps=[1, 2]),
        )
        assert part.steps == [1, 2]
        for name, values in part.values.items():
            np.testing.assert_array_equal(values, whole[name][1:3])


def test_a_trace_of_a_random_scan_shows_the_draws_of_the_next_call():
    place = random_walk().outputs
    f = pytensor.function([], place, mode=QUICK)
    np.testing.assert_array_equal(trace(place)["place"], f())


def test_a_scan_inside_a_step_is_traced_at_a_chosen_step():
    case = nested()
    inner = trace(case.outputs, case.inputs).inside(1)
    np.testing.assert_array_equal(inner["sums"], [3, 7])


def test_a_table_abbreviates_large_arrays_and_long_traces():
    x = pt.dmatrix("x")
    s = scan(lambda x_t, s: s + x_t, sequences=[x], outputs_info=[pt.zeros(10)])
    s.name = "s"
    table = str(trace(s, {x: np.ones((40, 10))}))
    assert "10 1 .. 1 .. 1 norm 3.162" in table
    assert table.count("\n...") == 1
    with pytest.raises(ValueError, match="step 50 is not in the trace, which has steps 0 to 39"):
        trace(s, {x: np.ones((40, 10))}).at(50)
    with pytest.raises(KeyError, match=r"u is none of x\[t\], s\[t-1\], s\[t\]"):
        trace(s, {x: np.ones((40, 10))})["u"]


def test_what_cannot_be_traced_is_refused():
    x = pt.dvector("x")
    with pytest.raises(ValueError, match="there is no scan behind x"):
        describe(x)
    case = fibonacci()
    with pytest.raises(ValueError, match="values are missing for the inputs f0"):
        trace(case.outputs)
    with pytest.raises(ValueError, match="y is not an input of this graph; its inputs are: f0"):
        trace(case.outputs, {"y": 1})
    with pytest.raises(ValueError, match=r"f0 has shape \(1, 2\), but f0 has 1 axes"):
        trace(case.outputs, {"f0": [[0, 1]]})
    with pytest.raises(ValueError, match="there is no scan 3: there are 1"):
        trace(case.outputs, case.inputs, scan=3)
    with pytest.raises(
        MemoryError, match=r"0\.000192 MB: choose fewer, for example steps=range\(4\)"
    ):
        trace(case.outputs, case.inputs, max_bytes=100)


def logs(x):
    """A scan whose step takes the logarithm of x - 1."""

    def step(x_t, s):
        return s + pt.log(x_t - 1)

    return scan(step, sequences=[x], outputs_info=[number(0.0)])


def test_the_first_value_that_is_not_finite_is_found():
    x = pt.dvector("x")
    s = logs(x)
    assert first_nonfinite(s, {x: [3.0, 2.0]}) is None
    found = first_nonfinite(s, {x: [3.0, 2.0, 1.0, 0.0]})
    assert (found.step, found.name, found.comes_from) == (2, "log(x[t] - 1)", "the step")
    assert found.inputs == {"x[t] - 1": 0.0}
    found = first_nonfinite(s, {x: [3.0, np.nan]})
    assert (found.step, found.name, found.comes_from) == (1, "x[t]", "outside")
    assert "it comes into the step from outside" in str(found)


def test_it_is_found_in_the_scan_of_a_gradient_too():
    x, w = pt.dvector("x"), pt.dscalar("w")
    s = scan(
        lambda x_t, s, w: s + pt.sqrt(x_t * w),
        sequences=[x],
        outputs_info=[number(0.0)],
        non_sequences=[w],
    )
    d = pytensor.grad(s[-1], w)
    inputs = {x: [1.0, 0.0, 1.0], w: 2.0}
    assert first_nonfinite(s, inputs) is None
    found = first_nonfinite(d, inputs)
    assert found.scan == "the gradient of a scan"
    assert found.step == 1  # the way back goes from the last step to the first


def test_gradient_flow_of_a_linear_recurrence_is_a_power():
    cell = LinearCell(1, 1, W_x=[[1.0]], W_h=[[0.5]], bias=False)
    x = pt.dtensor3("x")
    outputs, _ = unroll(cell, x)
    flow = gradient_flow(outputs[-1].sum(), outputs, {x: np.ones((6, 1, 1))})
    np.testing.assert_allclose(flow, 0.5 ** np.arange(5, -1, -1), rtol=1e-14)
    with pytest.raises(ValueError, match="must be a scalar"):
        gradient_flow(outputs, outputs, {x: np.ones((6, 1, 1))})
    with pytest.raises(ValueError, match="is no state of a scan"):
        gradient_flow(outputs.sum(), x * 2, {x: np.ones((6, 1, 1))})


def test_gradient_flow_equals_backpropagation_by_hand():
    case = gradient()
    x, h0, w = (v for v in case.inputs)
    h = scan(
        lambda x_t, h, w: pt.tanh(x_t + w * h), sequences=[x], outputs_info=[h0], non_sequences=[w]
    )
    flow = gradient_flow((h**2).sum(), h, case.inputs)
    np.testing.assert_allclose(flow, np.abs(case.values["d_h[t] so far"])[::-1], rtol=1e-12)


def test_heat_map_and_walk_are_made_of_a_trace(tmp_path):
    case = library_lstm()
    traced = trace(case.outputs, case.inputs)
    ax = draw_states(traced, "c")
    assert ax.images[0].get_array().shape == (2, 3)
    plt.close(ax.figure)
    small = trace(fibonacci().outputs, {"f0": [0, 1]}, steps=range(3))
    with Image.open(animate(small, tmp_path / "walk.gif", seconds_per_step=0.5)) as picture:
        assert picture.n_frames == 3
    assert "<img" in animate(small, tmp_path / "walk.html").read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["walk.gif", "walk.html"]
    with pytest.raises(ValueError, match=r"must end in \.gif or \.html"):
        animate(small, tmp_path / "walk.mp4")


X, H0, W = pt.dvector("x"), pt.dscalar("h0"), pytensor.shared(0.5, name="w")
RNG = pt.random.shared_rng(seed=1, name="rng")


@pytest.mark.parametrize(
    ("fn", "options", "problem"),
    [
        (lambda x: x, {"sequences": [X], "outputs_info": [H0]}, "takes x, but scan gives it 2 arg"),
        (lambda x, h: h + x, {"sequences": [X], "outputs_info": [0]}, "starts as int8, but the st"),
        (lambda x, h: h * X, {"sequences": [X], "outputs_info": [H0]}, "0 axes, but the step retu"),
        (
            lambda x, h: (h, x),
            {"sequences": [X], "outputs_info": [H0]},
            "returns 2 outputs, but ou",
        ),
        (lambda x: x if x > 0 else -x, {"sequences": [X]}, r"pt.switch\(condition, a, b\)"),
        (lambda h: h, {"outputs_info": [H0]}, "give n_steps"),
        (lambda x: x, {"sequences": [H0]}, "h0 is a number, but scan goes along the first axis"),
        (lambda h: h, {"outputs_info": [{"initial": H0, "taps": [-2]}], "n_steps": 3}, "2 earlier"),
        (
            lambda h: h,
            {"outputs_info": [{"initial": X, "taps": [1]}], "n_steps": 3},
            "taps below 0",
        ),
        (lambda x: x + RNG.normal()[1], {"sequences": [X]}, "every step draws the same numbers"),
        (lambda x: 1 / 0, {"sequences": [X]}, "fails with ZeroDivisionError"),
        (
            lambda h: pt.ones((1, 3)) * h.sum(),
            {"outputs_info": [pt.dmatrix("h0")], "n_steps": 3},
            r"axis 0 of h0 is known to have length 1 after a step",
        ),
        (
            lambda h: pt.zeros(4),
            {"outputs_info": [pt.zeros(3)], "n_steps": 3},
            "has length 3 at the start, but 4 after a step",
        ),
    ],
)
def test_mistakes_are_told_in_words(fn, options, problem):
    report = check(fn, **options)
    assert not report
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(str(report))


def test_a_right_step_has_no_problem_but_remarks():
    report = check(lambda x, h: pt.tanh(x + W), [X], [H0], n_steps=1)
    assert report
    assert report.call == "fn(x = x[t], h = h0[t-1])"
    assert [r.split(":")[0] for r in report.remarks] == [
        "with n_steps=1 PyTensor builds no scan, it calls the step once",
        "the step uses the shared variable w without being given it",
        "the step does not use h0[t-1] (None in outputs_info for what is not fed back)",
    ]
    assert check(lambda h: (h / 2, until(h < 1)), outputs_info=[H0], n_steps=9)
