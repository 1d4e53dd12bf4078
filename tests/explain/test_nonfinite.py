"""The first NaN or infinity is found: in which scan, step and expression."""

import numpy as np
import pytensor
import pytensor.tensor as pt
from scan_gallery import VALUES, ZERO, number, scan

from symrnn.explain import first_nonfinite


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
    assert "it enters the step from outside: x" in str(found)


def test_a_nan_is_found_in_the_scan_of_a_gradient_too():
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
    assert found.step == 1  # the backward pass starts at the last step


def test_a_nan_inside_an_inner_scan_is_found_there():
    M = pt.dmatrix("M")

    def of_row(row, total):
        logs = scan(lambda v, s: s + pt.log(v), sequences=[row], outputs_info=[ZERO])
        return total + logs[-1]

    total = scan(of_row, sequences=[M], outputs_info=[ZERO])
    found = first_nonfinite(total, {M: [[1.0, 2.0], [3.0, -1.0]]})
    assert found.scan == "a scan inside step 1 of a scan"
    assert (found.step, found.name.startswith("log(")) == (1, True)


def test_infinities_can_be_ignored():
    x = pt.dvector("x")
    m = scan(lambda a, m: pt.maximum(a, m), sequences=[x], outputs_info=[number(-np.inf)])
    assert first_nonfinite(m, {x: VALUES}).comes_from == "outside"
    assert first_nonfinite(m, {x: VALUES}, nan_only=True) is None
    assert first_nonfinite(m, {x: [1.0, np.nan]}, nan_only=True).step == 1
