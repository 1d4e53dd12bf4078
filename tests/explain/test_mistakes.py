"""Mistakes that people make with scan are explained."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.scan import until
from scan_gallery import ZERO

from symrnn.explain import check

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
        (lambda x: x, {"sequences": [H0]}, "h0 is a scalar, but scan iterates over the first axis"),
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
def test_mistakes_are_explained(fn, options, problem):
    report = check(fn, **options)
    assert not report
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(str(report))


def test_a_correct_step_has_remarks_but_no_problems():
    report = check(lambda x, h: pt.tanh(x + W), [X], [H0], n_steps=1)
    assert report
    assert report.call == "fn(x = x[t], h = h0[t-1])"
    assert [r.split(":")[0] for r in report.remarks] == [
        "with n_steps=1 PyTensor builds no scan",
        "the step uses the shared variable w, which is not among its arguments",
        "the step does not use h0[t-1] (None in outputs_info if it is not fed back)",
    ]
    assert check(lambda h: (h / 2, until(h < 1)), outputs_info=[H0], n_steps=9)


M = pt.dmatrix("M")


def assigns(row):
    row[0] = 1
    return row


@pytest.mark.parametrize(
    ("fn", "options", "problem"),
    [
        (
            lambda s, r: (s + r.normal()[1], r),
            {"outputs_info": [ZERO, RNG]},
            "returns it unchanged",
        ),
        (lambda s: None, {"outputs_info": [ZERO]}, "its return statement is missing"),
        (lambda s: 1.0, {"outputs_info": [ZERO]}, "1.0, which is not a variable"),
        (lambda s: (until(s > 3), s + 1), {"outputs_info": [ZERO]}, "must be the last item"),
        (lambda a: a, {"sequences": [{"taps": [0]}]}, "must be an array or a variable"),
        (assigns, {"sequences": [M]}, r"cannot be changed in place: s = pt.set_subtensor"),
        (lambda a: a, {"sequences": ["x"]}, r"sequences\[0\] is 'x'"),
    ],
)
def test_more_mistakes_are_explained(fn, options, problem):
    report = check(fn, **options, n_steps=4)
    assert not report
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(str(report))


@pytest.mark.filterwarnings("ignore:RandomVariable Ops")
def test_a_correct_step_has_no_problems():
    assert check(lambda a, h: a + h, [M], [np.zeros(3)])
    assert check(lambda a: a, [M], [{"initial": None}])
    with pytest.warns(FutureWarning, match="deprecated"):
        stream = pt.random.RandomStream(seed=5)
    report = check(lambda s: s + stream.normal(), outputs_info=[ZERO], n_steps=4)
    assert report
    assert "return_updates=True" in str(report)
