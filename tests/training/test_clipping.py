"""Clipping and weight decay: against torch, by hand, and where squares overflow."""

import json

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import FIXTURES

from symrnn.training.clipping import (
    clip_by_global_norm,
    clip_by_value,
    global_norm,
    weight_decay,
)

TORCH = json.loads((FIXTURES / "torch_optimizers.json").read_text(encoding="utf-8"))


def start():
    return [pytensor.shared(np.array(v), name=k) for k, v in TORCH["start"].items()]


def loss_of(W, b):
    """The loss of fixtures/torch_optimizers.py, which cannot be imported without torch."""
    x = 0.5 * (W**2).sum() + (W[0] * W[1] * b).sum()
    return x + 0.1 * ((W[0] - b) ** 4).sum() + (b**2).sum()


def test_clipping_by_global_norm_equals_torch():
    params = start()
    clipped = clip_by_global_norm(pytensor.grad(loss_of(*params), params), 1.0)
    values = pytensor.function([], [*clipped, global_norm(clipped)])()
    for p, value in zip(params, values, strict=False):
        # torch divides by the norm plus 1e-6
        np.testing.assert_allclose(value, TORCH["clipped_to_1"][p.name], rtol=1e-6)
    assert values[-1] == pytest.approx(1.0, rel=1e-12)


def test_small_gradients_are_not_clipped():
    g = [np.array([0.3, -0.4]), np.array(0.0)]
    by_norm = pytensor.function([], clip_by_global_norm([pt.constant(v) for v in g], 0.6))
    np.testing.assert_array_equal(by_norm()[0], g[0])
    by_value = pytensor.function([], clip_by_value([pt.constant(v) for v in g], 0.35))
    np.testing.assert_array_equal(by_value()[0], [0.3, -0.35])


def test_clipping_holds_where_the_squares_overflow():
    g = np.array([9e37, -3e37], dtype="float32")
    clipped = clip_by_global_norm([pt.constant(g)], 1.0)
    value, norm = pytensor.function([], [clipped[0], global_norm([pt.constant(g)])])()
    np.testing.assert_allclose(value, [0.94868, -0.31623], rtol=1e-4)
    assert value.dtype == "float32"
    assert norm == pytest.approx(9.4868e37, rel=1e-4)


def test_the_limit_of_the_norm_may_be_an_input():
    limit, g = pt.dscalar("limit"), [pt.constant(np.array([3.0, -4.0])), pt.constant(np.zeros(2))]
    clip = pytensor.function([limit], clip_by_global_norm(g, limit))
    np.testing.assert_allclose(clip(1.0)[0], [0.6, -0.8], rtol=1e-15)
    np.testing.assert_allclose(clip(1e30)[0], [3.0, -4.0], rtol=1e-15)  # as good as no limit
    for bad in (0.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="max_norm must be a positive number"):
            clip(bad)
    with pytest.raises(ValueError, match="max_norm has 1 axes"):
        clip_by_global_norm(g, pt.dvector("limits"))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_gradients_without_a_direction_become_nan_when_clipped(bad):
    g = [pt.constant(np.array([bad, 1.0])), pt.constant(np.ones((2, 2)))]
    for value in pytensor.function([], clip_by_global_norm(g, 1.0))():
        assert np.isnan(value).all()


def test_clipping_by_value_holds_on_both_sides():
    g = [pt.constant(np.array([5.0, 0.1, -7.0]))]
    clipped = pytensor.function([], clip_by_value(g, 0.35))()[0]
    np.testing.assert_array_equal(clipped, [0.35, 0.1, -0.35])


def test_zero_gradients_stay_zero_when_clipped():
    clipped = clip_by_global_norm([pt.constant(np.zeros(3))], 1.0)
    np.testing.assert_array_equal(pytensor.function([], clipped[0])(), 0)


def test_weight_decay_adds_the_gradient_of_the_squared_weights():
    params = start()
    loss = loss_of(*params)
    decayed = weight_decay(pytensor.grad(loss, params), params, 0.3)
    penalty = 0.15 * sum((p**2).sum() for p in params)
    values = pytensor.function([], [*decayed, *pytensor.grad(loss + penalty, params)])()
    for i in range(len(params)):
        np.testing.assert_allclose(values[i], values[i + len(params)], rtol=1e-13)


def test_clipping_and_decay_refuse_settings_that_make_no_sense():
    w = pytensor.shared(1.0, name="w")
    g = [pytensor.grad(w**2, w)]
    for limit in (0, -1, np.nan):
        with pytest.raises(ValueError, match="limit is"):
            clip_by_value(g, limit)
        with pytest.raises(ValueError, match="max_norm is"):
            clip_by_global_norm(g, limit)
    with pytest.raises(ValueError, match="strength is -1"):
        weight_decay(g, [w], -1)
    with pytest.raises(ValueError, match="1 gradients for 2 parameters"):
        weight_decay(g, [w, pytensor.shared(1.0, name="v")], 0.1)
