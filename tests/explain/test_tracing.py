"""Traces of scans: against plain loops."""

import cProfile

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.builders import OpFromGraph
from pytensor.scan import until
from scan_gallery import (
    VALUES,
    ZERO,
    each_case,
    fibonacci,
    gradient,
    library_lstm,
    nested,
    random_walk,
    scan,
    two_layers,
)

from symrnn.compiling.modes import QUICK
from symrnn.explain import describe, first_nonfinite, gradient_flow, trace
from symrnn.nn.cells import ElmanCell
from symrnn.nn.recurrent import unroll


@each_case
def test_trace_shows_the_values_of_a_plain_loop(make):
    case = make()
    traced = trace(case.outputs, case.inputs, scan=case.scan)
    for name, expected in case.values.items():
        np.testing.assert_allclose(traced[name], expected, rtol=1e-12, atol=1e-14, err_msg=name)
    assert str(traced)


@pytest.mark.parametrize("mode", ["FAST_COMPILE", pytest.param("CVM", marks=pytest.mark.slow)])
def test_a_trace_in_another_mode_is_the_same(mode):
    for make in (fibonacci, gradient, nested, random_walk):
        case = make()
        traced = trace(case.outputs, case.inputs, mode=mode)
        for name, expected in case.values.items():
            np.testing.assert_allclose(traced[name], expected, rtol=1e-12, atol=1e-14)


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
    with pytest.raises(KeyError, match=r"u is not among x\[t\], s\[t-1\], s\[t\]"):
        trace(s, {x: np.ones((40, 10))})["u"]


def test_what_cannot_be_traced_is_refused():
    x = pt.dvector("x")
    with pytest.raises(ValueError, match="no scan found behind x"):
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
        MemoryError, match=r"0\.000192 MB: choose fewer steps, for example steps=range\(4\)"
    ):
        trace(case.outputs, case.inputs, max_bytes=100)


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


def test_values_whose_expressions_look_alike_are_kept_apart():
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
    traced = trace(s, {x: VALUES}, steps=[3, -1, 1, 3])
    assert traced.steps == [1, 3, 4]
    np.testing.assert_allclose(traced["state"], np.cumsum(VALUES)[[1, 3, 4]])
    with pytest.raises(ValueError, match="there is no step 5: the scan makes 5 steps"):
        trace(s, {x: VALUES}, steps=[5])
    empty = trace(s, {x: []})
    assert (empty.steps, len(empty["state"])) == ([], 0)
    e = scan(lambda s: (s + 1, until(s > 2)), outputs_info=[ZERO], n_steps=50)
    with pytest.raises(ValueError, match="no step 20: the scan ended after 4 steps"):
        trace(e, steps=[1, 20])


def test_inputs_are_not_cast_silently():
    k = pt.lvector("k")
    s = scan(lambda a, s: s + a, sequences=[k], outputs_info=[ZERO])
    with pytest.raises(ValueError, match="dtype float64, but k is int64"):
        trace(s, {k: [1.7, 2.9]})


def test_a_profiler_goes_on_after_a_trace():
    def later():
        return 1

    x = pt.dtensor3("x")
    outputs, _ = unroll(ElmanCell(1, 2, rng=np.random.default_rng(0)), x)
    with cProfile.Profile() as profiler:
        trace(outputs, {x: np.ones((2, 1, 1))})
        later()
    assert later.__code__ in [entry.code for entry in profiler.getstats()]
