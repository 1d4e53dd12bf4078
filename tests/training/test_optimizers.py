import importlib.util
import json

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import FIXTURES

from symrnn.training import optimizers as updates

TORCH = json.loads((FIXTURES / "torch_updates.json").read_text(encoding="utf-8"))
RULES = [
    updates.gradient_descent,
    updates.momentum,
    updates.nesterov_momentum,
    updates.adagrad,
    updates.rmsprop,
    updates.adadelta,
    updates.adam,
    updates.adamw,
]


def fixture_script():
    spec = importlib.util.spec_from_file_location("torch_updates", FIXTURES / "torch_updates.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loss_of(W, b):
    """The loss of fixtures/torch_updates.py, which cannot be imported without torch."""
    x = 0.5 * (W**2).sum() + (W[0] * W[1] * b).sum()
    return x + 0.1 * ((W[0] - b) ** 4).sum() + (b**2).sum()


def start():
    return [pytensor.shared(np.array(v), name=k) for k, v in TORCH["start"].items()]


@pytest.mark.parametrize("case", TORCH["rules"], ids=lambda c: f"{c['rule']}-{c['settings']}")
def test_twenty_steps_equal_torch(case):
    params = start()
    rule = getattr(updates, case["rule"])
    step = pytensor.function([], updates=rule(loss_of(*params), params, **case["settings"]))
    for _ in range(TORCH["n_steps"]):
        step()
    for p in params:
        np.testing.assert_allclose(p.get_value(), case["end"][p.name], rtol=0, atol=1e-10)


@pytest.mark.slow
def test_torch_itself_still_gives_the_fixture():
    pytest.importorskip("torch")
    live = fixture_script().everything()
    for case, stored in zip(live["rules"], TORCH["rules"], strict=True):
        for name in TORCH["start"]:
            np.testing.assert_allclose(case["end"][name], stored["end"][name], rtol=0, atol=1e-12)


def test_clipping_by_global_norm_equals_torch():
    params = start()
    clipped = updates.clip_by_global_norm(pytensor.grad(loss_of(*params), params), 1.0)
    values = pytensor.function([], [*clipped, updates.global_norm(clipped)])()
    for p, value in zip(params, values, strict=False):
        # torch divides by the norm plus 1e-6
        np.testing.assert_allclose(value, TORCH["clipped_to_1"][p.name], rtol=1e-6)
    assert values[-1] == pytest.approx(1.0, rel=1e-12)


def test_small_gradients_are_not_clipped():
    g = [np.array([0.3, -0.4]), np.array(0.0)]
    by_norm = pytensor.function([], updates.clip_by_global_norm([pt.constant(v) for v in g], 0.6))
    np.testing.assert_array_equal(by_norm()[0], g[0])
    by_value = pytensor.function([], updates.clip_by_value([pt.constant(v) for v in g], 0.35))
    np.testing.assert_array_equal(by_value()[0], [0.3, -0.35])


def test_clipping_holds_where_the_squares_overflow():
    g = np.array([9e37, -3e37], dtype="float32")
    clipped = updates.clip_by_global_norm([pt.constant(g)], 1.0)
    value, norm = pytensor.function([], [clipped[0], updates.global_norm([pt.constant(g)])])()
    np.testing.assert_allclose(value, [0.94868, -0.31623], rtol=1e-4)
    assert value.dtype == "float32"
    assert norm == pytest.approx(9.4868e37, rel=1e-4)


def test_the_limit_of_the_norm_may_be_an_input():
    limit, g = pt.dscalar("limit"), [pt.constant(np.array([3.0, -4.0])), pt.constant(np.zeros(2))]
    clip = pytensor.function([limit], updates.clip_by_global_norm(g, limit))
    np.testing.assert_allclose(clip(1.0)[0], [0.6, -0.8], rtol=1e-15)
    np.testing.assert_allclose(clip(1e30)[0], [3.0, -4.0], rtol=1e-15)  # as good as no limit
    for bad in (0.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="max_norm must be a positive number"):
            clip(bad)
    with pytest.raises(ValueError, match="max_norm has 1 axes"):
        updates.clip_by_global_norm(g, pt.dvector("limits"))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_gradients_without_a_direction_become_nan_when_clipped(bad):
    g = [pt.constant(np.array([bad, 1.0])), pt.constant(np.ones((2, 2)))]
    for value in pytensor.function([], updates.clip_by_global_norm(g, 1.0))():
        assert np.isnan(value).all()


def test_clipping_by_value_holds_on_both_sides():
    g = [pt.constant(np.array([5.0, 0.1, -7.0]))]
    clipped = pytensor.function([], updates.clip_by_value(g, 0.35))()[0]
    np.testing.assert_array_equal(clipped, [0.35, 0.1, -0.35])


def test_zero_gradients_stay_zero_when_clipped():
    clipped = updates.clip_by_global_norm([pt.constant(np.zeros(3))], 1.0)
    np.testing.assert_array_equal(pytensor.function([], clipped[0])(), 0)


def test_weight_decay_adds_the_gradient_of_the_squared_weights():
    params = start()
    loss = loss_of(*params)
    decayed = updates.weight_decay(pytensor.grad(loss, params), params, 0.3)
    penalty = 0.15 * sum((p**2).sum() for p in params)
    values = pytensor.function([], [*decayed, *pytensor.grad(loss + penalty, params)])()
    for i in range(len(params)):
        np.testing.assert_allclose(values[i], values[i + len(params)], rtol=1e-13)


ROSENBROCK = {
    "gradient_descent": {"learning_rate": 0.005},
    "momentum": {"learning_rate": 0.001},
    "nesterov_momentum": {"learning_rate": 0.001},
    "adagrad": {"learning_rate": 0.5},
    "rmsprop": {"learning_rate": 0.001},
    "adadelta": {"learning_rate": 0.01, "epsilon": 1e-3},
    "adam": {"learning_rate": 0.02},
    "adamw": {"learning_rate": 0.02, "decay": 0.0},
}


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_every_rule_minimises_a_rosenbrock_function(rule):
    w = pytensor.shared(np.array([-1.2, 1.0]), name="w")
    loss = (1 - w[0]) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2
    step = pytensor.function([], loss, updates=rule(loss, [w], **ROSENBROCK[rule.__name__]))
    assert step() == pytest.approx(6.776)
    for _ in range(5000):
        last = step()
    assert last < 1e-4
    np.testing.assert_allclose(w.get_value(), [1, 1], atol=0.01)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_accumulators_are_named_and_training_goes_on_from_saved_values(rule):
    def build():
        params = start()
        u = rule(loss_of(*params), params, 0.01)
        return params, u, pytensor.function([], loss_of(*params), updates=u)

    _, u, step = build()
    names = [v.name for v in u]
    assert all(names)
    assert len(set(names)) == len(names)
    assert all(n in ("W", "b") or n.startswith(rule.__name__) for n in names)

    for _ in range(5):
        step()
    saved = {v.name: v.get_value() for v in u}
    expected = [float(step()) for _ in range(3)]

    _, fresh, fresh_step = build()
    for v in fresh:
        v.set_value(saved[v.name])
    assert [float(fresh_step()) for _ in range(3)] == expected


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_parameters_keep_their_dtype(rule, dtype, floatX):
    with pytensor.config.change_flags(floatX=floatX):
        w = pytensor.shared(np.ones((1, 2), dtype=dtype), name="w", shape=(1, 2))
        step = pytensor.function([], updates=rule((w**2).sum(), [w], 0.1))
    step()
    assert w.get_value().dtype == dtype
    assert (w.get_value() < 1).all()


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_a_loss_and_its_gradients_give_the_same_step(rule):
    ends = []
    for use_gradients in (False, True):
        params = start()
        loss = loss_of(*params)
        given = pytensor.grad(loss, params) if use_gradients else loss
        pytensor.function([], updates=rule(given, params, 0.01))()
        ends.append(np.concatenate([p.get_value().ravel() for p in params]))
    np.testing.assert_array_equal(*ends)


def test_the_rate_may_be_a_shared_variable():
    w, rate = pytensor.shared(np.array(1.0), name="w"), pytensor.shared(0.5, name="rate")
    step = pytensor.function([], updates=updates.gradient_descent(w**2 / 2, [w], rate))
    step()
    rate.set_value(0.1)
    step()
    assert float(w.get_value()) == pytest.approx(0.45)


def test_a_rate_that_becomes_negative_is_refused_in_the_call():
    w, rate = pytensor.shared(np.array(1.0), name="w"), pytensor.shared(0.5, name="rate")
    step = pytensor.function([], updates=updates.gradient_descent(w**2 / 2, [w], rate))
    for wrong in (-0.1, np.nan):
        rate.set_value(wrong)
        with pytest.raises(ValueError, match="the learning rate has become negative or NaN"):
            step()
    assert w.get_value() == 1
    rate.set_value(0.0)  # a schedule may end there
    step()
    assert w.get_value() == 1


def test_adam_keeps_its_digits_in_float32():
    """Its first steps are as long as the rate, so 1 - beta_2^t must be exact to many digits."""
    ends = {}
    for dtype in ("float32", "float64"):
        w = pytensor.shared(np.array(0.0, dtype=dtype), name="w")
        step = pytensor.function([], updates=updates.adam([w * 0 + 1], [w], 0.001, beta_2=0.9999))
        for _ in range(21):
            step()
        ends[dtype] = float(w.get_value())
    assert ends["float32"] == pytest.approx(ends["float64"], rel=1e-5)


def test_centred_rmsprop_survives_a_variance_that_rounds_below_zero():
    w = pytensor.shared(np.array(1.0, dtype="float32"), name="w")
    g = pt.constant(np.float32(0.1))
    rule = updates.rmsprop([g], [w], 0.001, centered=True, epsilon=1e-8)
    step = pytensor.function([], updates=rule)
    for _ in range(200):  # all gradients are equal, so the variance goes to 0
        step()
    assert np.isfinite(w.get_value())


def test_rmsprop_of_the_published_speed_has_epsilon_in_the_root():
    w = pytensor.shared(np.array(2.0), name="w")
    step = pytensor.function(
        [],
        updates=updates.rmsprop(
            w**2, [w], 0.1, rho=0.5, epsilon=10.0, centered=True, mu=0.6, nesterov=True,
            epsilon_in_root=True,
        ),
    )  # fmt: skip
    p, n, m, v = 2.0, 0.0, 0.0, 0.0
    for _ in range(4):
        step()
        g = 2 * p
        n, m = 0.5 * n + 0.5 * g**2, 0.5 * m + 0.5 * g
        u = g / np.sqrt(n - m**2 + 10)
        v = 0.6 * v + u
        p -= 0.1 * (u + 0.6 * v)
    assert float(w.get_value()) == pytest.approx(p, rel=1e-13)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_bad_input_is_refused_with_its_cause_and_the_fix(rule):
    w, other = pytensor.shared(np.ones(2), name="w"), pytensor.shared(np.ones(2), name="other")
    loss = (w**2).sum()
    for rate in (0, -0.1, np.nan, np.inf, pytensor.shared(-1.0), None, "0.1", np.zeros(2)):
        with pytest.raises(ValueError, match=r"the learning rate is .* must be a positive number"):
            rule(loss, [w], rate)
    with pytest.raises(ValueError, match="the learning rate has 1 axes, but must be one number"):
        rule(loss, [w], pt.vector("rate"))
    with pytest.raises(TypeError, match=r"only shared variables.*pytensor\.shared"):
        rule(loss, [pt.vector("v")], 0.1)
    with pytest.raises(TypeError, match=r"params must be a list.*cell\.params"):
        rule(loss, object(), 0.1)
    with pytest.raises(ValueError, match=r"the loss has dtype int64.*use a smooth loss"):
        rule(pt.neq(w.round(), 1).sum(), [w], 0.1)
    with pytest.raises(ValueError, match=r"the loss has 1 axes.*\.sum\(\) or \.mean\(\)"):
        rule(w**2, [w], 0.1)
    with pytest.raises(ValueError, match="the loss does not depend on other: leave it out"):
        rule(loss, [w, other], 0.1)
    with pytest.raises(ValueError, match="1 gradients for 2 parameters"):
        rule([pytensor.grad(loss, w)], [w, other], 0.1)
    with pytest.raises(ValueError, match="the gradient of w has 0 axes, but w has 1"):
        rule([loss], [w], 0.1)


@pytest.mark.parametrize(
    ("rule", "setting", "message"),
    [
        (updates.momentum, {"mu": 1.0}, "mu is 1.0"),
        (updates.nesterov_momentum, {"mu": -0.1}, "mu is -0.1"),
        (updates.adagrad, {"epsilon": 0}, "epsilon is 0"),
        (updates.rmsprop, {"rho": 1.5}, "rho is 1.5"),
        (updates.rmsprop, {"mu": 2}, "mu is 2"),
        (updates.rmsprop, {"nesterov": True}, "give mu as well"),
        (updates.momentum, {"mu": "0.9"}, "mu is 0.9, but must be a number"),
        (updates.adadelta, {"rho": -1}, "rho is -1"),
        (updates.adam, {"beta_1": 1}, "beta_1 is 1"),
        (updates.adamw, {"beta_2": 1}, "beta_2 is 1"),
        (updates.adamw, {"decay": -1}, "decay is -1"),
        (updates.adamw, {"decay": np.nan}, "decay is nan"),
    ],
)
def test_coefficients_out_of_range_are_refused(rule, setting, message):
    w = pytensor.shared(1.0, name="w")
    with pytest.raises(ValueError, match=message):
        rule(w**2, [w], 0.1, **setting)


def test_clipping_and_decay_refuse_settings_that_make_no_sense():
    w = pytensor.shared(1.0, name="w")
    g = [pytensor.grad(w**2, w)]
    for limit in (0, -1, np.nan):
        with pytest.raises(ValueError, match="limit is"):
            updates.clip_by_value(g, limit)
        with pytest.raises(ValueError, match="max_norm is"):
            updates.clip_by_global_norm(g, limit)
    with pytest.raises(ValueError, match="strength is -1"):
        updates.weight_decay(g, [w], -1)
    with pytest.raises(ValueError, match="1 gradients for 2 parameters"):
        updates.weight_decay(g, [w, pytensor.shared(1.0, name="v")], 0.1)
