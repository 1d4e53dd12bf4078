import importlib.util
import json

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import FIXTURES

from symrnn.training import optimizers

TORCH = json.loads((FIXTURES / "torch_optimizers.json").read_text(encoding="utf-8"))
OPTIMIZERS = [
    optimizers.gradient_descent,
    optimizers.momentum,
    optimizers.nesterov_momentum,
    optimizers.adagrad,
    optimizers.rmsprop,
    optimizers.adadelta,
    optimizers.adam,
    optimizers.adamw,
]


def fixture_script():
    spec = importlib.util.spec_from_file_location(
        "torch_optimizers", FIXTURES / "torch_optimizers.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loss_of(W, b):
    """The loss of fixtures/torch_optimizers.py, which cannot be imported without torch."""
    x = 0.5 * (W**2).sum() + (W[0] * W[1] * b).sum()
    return x + 0.1 * ((W[0] - b) ** 4).sum() + (b**2).sum()


def start():
    return [pytensor.shared(np.array(v), name=k) for k, v in TORCH["start"].items()]


@pytest.mark.parametrize(
    "case", TORCH["optimizers"], ids=lambda c: f"{c['optimizer']}-{c['settings']}"
)
def test_twenty_steps_equal_torch(case):
    params = start()
    optimizer = getattr(optimizers, case["optimizer"])
    step = pytensor.function([], updates=optimizer(loss_of(*params), params, **case["settings"]))
    for _ in range(TORCH["n_steps"]):
        step()
    for p in params:
        np.testing.assert_allclose(p.get_value(), case["end"][p.name], rtol=0, atol=1e-10)


@pytest.mark.slow
def test_torch_itself_still_gives_the_fixture():
    pytest.importorskip("torch")
    live = fixture_script().everything()
    for case, stored in zip(live["optimizers"], TORCH["optimizers"], strict=True):
        for name in TORCH["start"]:
            np.testing.assert_allclose(case["end"][name], stored["end"][name], rtol=0, atol=1e-12)


ROSENBROCK = {
    "gradient_descent": {"learning_rate": 0.005},
    "momentum": {"learning_rate": 0.001},
    "nesterov_momentum": {"learning_rate": 0.001},
    "adagrad": {"learning_rate": 0.5},
    "rmsprop": {"learning_rate": 0.001},
    "adadelta": {"learning_rate": 0.01, "epsilon": 1e-3},
    "adam": {"learning_rate": 0.02},
    "adamw": {"learning_rate": 0.02, "weight_decay": 0.0},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.__name__)
def test_every_optimizer_minimises_a_rosenbrock_function(optimizer):
    w = pytensor.shared(np.array([-1.2, 1.0]), name="w")
    loss = (1 - w[0]) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2
    step = pytensor.function(
        [], loss, updates=optimizer(loss, [w], **ROSENBROCK[optimizer.__name__])
    )
    assert step() == pytest.approx(6.776)
    for _ in range(5000):
        last = step()
    assert last < 1e-4
    np.testing.assert_allclose(w.get_value(), [1, 1], atol=0.01)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.__name__)
def test_state_is_named_and_training_goes_on_from_saved_values(optimizer):
    def build():
        params = start()
        u = optimizer(loss_of(*params), params, 0.01)
        return params, u, pytensor.function([], loss_of(*params), updates=u)

    _, u, step = build()
    names = [v.name for v in u]
    assert all(names)
    assert len(set(names)) == len(names)
    assert all(n in ("W", "b") or n.startswith(optimizer.__name__) for n in names)

    for _ in range(5):
        step()
    saved = {v.name: v.get_value() for v in u}
    expected = [float(step()) for _ in range(3)]

    _, fresh, fresh_step = build()
    for v in fresh:
        v.set_value(saved[v.name])
    assert [float(fresh_step()) for _ in range(3)] == expected


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_parameters_keep_their_dtype(optimizer, dtype, floatX):
    with pytensor.config.change_flags(floatX=floatX):
        w = pytensor.shared(np.ones((1, 2), dtype=dtype), name="w", shape=(1, 2))
        step = pytensor.function([], updates=optimizer((w**2).sum(), [w], 0.1))
    step()
    assert w.get_value().dtype == dtype
    assert (w.get_value() < 1).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.__name__)
def test_a_loss_and_its_gradients_give_the_same_step(optimizer):
    ends = []
    for use_gradients in (False, True):
        params = start()
        loss = loss_of(*params)
        given = pytensor.grad(loss, params) if use_gradients else loss
        pytensor.function([], updates=optimizer(given, params, 0.01))()
        ends.append(np.concatenate([p.get_value().ravel() for p in params]))
    np.testing.assert_array_equal(*ends)


def test_the_learning_rate_may_be_a_shared_variable():
    w, eta = pytensor.shared(np.array(1.0), name="w"), pytensor.shared(0.5, name="eta")
    step = pytensor.function([], updates=optimizers.gradient_descent(w**2 / 2, [w], eta))
    step()
    eta.set_value(0.1)
    step()
    assert float(w.get_value()) == pytest.approx(0.45)


def test_a_learning_rate_that_becomes_negative_is_refused_in_the_call():
    w, eta = pytensor.shared(np.array(1.0), name="w"), pytensor.shared(0.5, name="eta")
    step = pytensor.function([], updates=optimizers.gradient_descent(w**2 / 2, [w], eta))
    for wrong in (-0.1, np.nan):
        eta.set_value(wrong)
        with pytest.raises(ValueError, match="the learning rate has become negative or NaN"):
            step()
    assert w.get_value() == 1
    eta.set_value(0.0)  # a schedule may end there
    step()
    assert w.get_value() == 1


def test_adam_keeps_its_digits_in_float32():
    """Its first steps are as long as eta, so 1 - beta_2^t must be exact to many digits."""
    ends = {}
    for dtype in ("float32", "float64"):
        w = pytensor.shared(np.array(0.0, dtype=dtype), name="w")
        step = pytensor.function(
            [], updates=optimizers.adam([w * 0 + 1], [w], 0.001, beta_2=0.9999)
        )
        for _ in range(21):
            step()
        ends[dtype] = float(w.get_value())
    assert ends["float32"] == pytest.approx(ends["float64"], rel=1e-5)


def test_centered_rmsprop_survives_a_variance_that_rounds_below_zero():
    w = pytensor.shared(np.zeros(50, "float32"), name="w")
    g = pt.constant(np.linspace(0.1, 3, 50, dtype="float32"))
    updates = optimizers.rmsprop([g], [w], 0.001, rho=0.5, centered=True)
    step = pytensor.function([], updates=updates, mode="FAST_COMPILE")
    for _ in range(200):  # all gradients are equal, so the variance goes to 0
        step()
    assert np.isfinite(w.get_value()).all()


def test_rmsprop_of_the_published_speed_has_epsilon_in_the_root():
    w = pytensor.shared(np.array(2.0), name="w")
    step = pytensor.function(
        [],
        updates=optimizers.rmsprop(
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


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.__name__)
def test_bad_input_is_refused_with_its_cause_and_the_fix(optimizer):
    w, other = pytensor.shared(np.ones(2), name="w"), pytensor.shared(np.ones(2), name="other")
    loss = (w**2).sum()
    for learning_rate in (0, -0.1, np.nan, np.inf, pytensor.shared(-1.0), None, "0.1", np.zeros(2)):
        with pytest.raises(ValueError, match=r"learning_rate is .* must be a positive number"):
            optimizer(loss, [w], learning_rate)
    with pytest.raises(ValueError, match="learning_rate has 1 axes, but must be a scalar"):
        optimizer(loss, [w], pt.vector("learning_rate"))
    with pytest.raises(TypeError, match=r"only shared variables.*pytensor\.shared"):
        optimizer(loss, [pt.vector("v")], 0.1)
    with pytest.raises(TypeError, match=r"params must be a list.*cell\.params"):
        optimizer(loss, object(), 0.1)
    with pytest.raises(ValueError, match=r"the loss has dtype int64.*not differentiable.*smooth"):
        optimizer(pt.neq(w.round(), 1).sum(), [w], 0.1)
    with pytest.raises(ValueError, match=r"the loss has 1 axes.*\.sum\(\) or \.mean\(\)"):
        optimizer(w**2, [w], 0.1)
    with pytest.raises(ValueError, match="the loss does not depend on other: leave it out"):
        optimizer(loss, [w, other], 0.1)
    with pytest.raises(ValueError, match="1 gradients for 2 parameters"):
        optimizer([pytensor.grad(loss, w)], [w, other], 0.1)
    with pytest.raises(ValueError, match="the gradient of w has 0 axes, but w has 1"):
        optimizer([loss], [w], 0.1)
    with pytest.raises(TypeError, match="positional"):
        optimizer(loss, [w], 0.1, 0.5)


@pytest.mark.parametrize(
    ("optimizer", "setting", "message"),
    [
        (optimizers.momentum, {"mu": 1.0}, "mu is 1.0"),
        (optimizers.nesterov_momentum, {"mu": -0.1}, "mu is -0.1"),
        (optimizers.adagrad, {"epsilon": 0}, "epsilon is 0"),
        (optimizers.rmsprop, {"rho": 1.5}, "rho is 1.5"),
        (optimizers.rmsprop, {"mu": 2}, "mu is 2"),
        (optimizers.rmsprop, {"nesterov": True}, "give mu as well"),
        (optimizers.momentum, {"mu": "0.9"}, "mu is '0.9', but must be in"),
        (optimizers.adadelta, {"rho": -1}, "rho is -1"),
        (optimizers.adam, {"beta_1": 1}, "beta_1 is 1"),
        (optimizers.adamw, {"beta_2": 1}, "beta_2 is 1"),
        (optimizers.adamw, {"weight_decay": -1}, "weight_decay is -1"),
        (optimizers.adamw, {"weight_decay": np.nan}, "weight_decay is nan"),
    ],
)
def test_coefficients_out_of_range_are_refused(optimizer, setting, message):
    w = pytensor.shared(1.0, name="w")
    with pytest.raises(ValueError, match=message):
        optimizer(w**2, [w], 0.1, **setting)
