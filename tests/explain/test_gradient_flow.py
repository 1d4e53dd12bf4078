"""The gradient at each step: against powers, a loop by hand and finite differences."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.scan import until
from scan_gallery import VALUES, ZERO, gradient, scan, two_layers

from symrnn.explain import gradient_flow, trace
from symrnn.nn.cells import ElmanCell, LinearCell, LSTMCell
from symrnn.nn.recurrent import bidirectional, stack, unroll


def test_gradient_flow_of_a_linear_recurrence_is_a_power():
    cell = LinearCell(1, 1, W_x=[[1.0]], W_h=[[0.5]], bias=False)
    x = pt.dtensor3("x")
    outputs, _ = unroll(cell, x)
    flow = gradient_flow(outputs[-1].sum(), outputs, {x: np.ones((6, 1, 1))})
    np.testing.assert_allclose(flow, 0.5 ** np.arange(5, -1, -1), rtol=1e-14)
    with pytest.raises(ValueError, match="must be a scalar"):
        gradient_flow(outputs, outputs, {x: np.ones((6, 1, 1))})
    with pytest.raises(ValueError, match="is not a state of a scan"):
        gradient_flow(outputs.sum(), x * 2, {x: np.ones((6, 1, 1))})


def test_gradient_flow_equals_backpropagation_by_hand():
    case = gradient()
    x, h0, w = (v for v in case.inputs)
    h = scan(
        lambda x_t, h, w: pt.tanh(x_t + w * h), sequences=[x], outputs_info=[h0], non_sequences=[w]
    )
    flow = gradient_flow((h**2).sum(), h, case.inputs)
    np.testing.assert_allclose(flow, np.abs(case.values["d_h[t] so far"])[::-1], rtol=1e-12)


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
    with pytest.raises(ValueError, match="computed from the states of several scans"):
        gradient_flow(outputs.sum(), outputs, {x: np.ones((3, 1, 1))})
    outputs, states = stack([ElmanCell(1, 2, rng=rng)], x, residual=True)
    assert len(gradient_flow(states[0].h.sum(), outputs, {x: np.ones((3, 1, 1))})) == 3


def test_gradient_flow_of_a_scan_that_ends_itself():
    x = pt.dvector("x")
    s = scan(lambda a, s: (s / 2 + a, until(s > 0.5)), sequences=[x], outputs_info=[ZERO])
    steps = len(trace(s, {x: VALUES}).steps)
    assert steps < 5
    np.testing.assert_allclose(gradient_flow(s[-1], s, {x: VALUES}), 0.5 ** np.arange(steps)[::-1])


def test_the_final_memory_of_an_lstm_is_a_state_whichever_way_it_was_computed():
    x, rng = pt.dtensor3("x"), np.random.default_rng(0)
    cell = LSTMCell(2, 3, rng=rng)
    value = rng.normal(size=(5, 2, 2))
    flows = []
    for implementation in ("scan", "kernel"):
        _, state = unroll(cell, x, implementation=implementation)
        flows.append(gradient_flow((state.c**2).sum() + state.h.sum(), state.c, {x: value}))
    np.testing.assert_allclose(*flows, rtol=1e-12)
