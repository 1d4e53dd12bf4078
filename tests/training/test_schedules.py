import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.training import optimizers, schedules

N = np.arange(12)
FORMULAS = {
    "constant": (lambda t: schedules.constant(t, 0.3), np.full(12, 0.3)),
    "step_decay": (
        lambda t: schedules.step_decay(t, 0.3, factor=0.5, every=4),
        0.3 * 0.5 ** (N // 4),
    ),
    "exponential": (
        lambda t: schedules.exponential(t, 0.3, factor=0.5, every=4),
        0.3 * 0.5 ** (N / 4),
    ),
    "natural_exponential": (
        lambda t: schedules.natural_exponential(t, 0.3, decay=0.7, every=5),
        0.3 * np.exp(-0.7 * N / 5),
    ),
    "inverse_time": (
        lambda t: schedules.inverse_time(t, 0.3, decay=0.7, every=5),
        0.3 / (1 + 0.7 * N / 5),
    ),
    "linear_to_zero": (
        lambda t: schedules.linear_to_zero(t, 0.3, n_steps=8, n_last=4),
        0.3 * np.clip((8 - N) / 4, 0, 1),
    ),
    "cosine": (
        lambda t: schedules.cosine(t, 0.3, n_steps=8, final_learning_rate=0.1),
        0.1 + 0.2 * (1 + np.cos(np.pi * np.minimum(N / 8, 1))) / 2,
    ),
    "warm_up": (
        lambda t: schedules.warm_up(t, schedules.exponential(t, 0.3, factor=0.9), n_steps=5),
        0.3 * 0.9**N * np.minimum((N + 1) / 5, 1),
    ),
    "warm_up of a number": (
        lambda t: schedules.warm_up(t, 0.3, n_steps=5),
        0.3 * np.minimum((N + 1) / 5, 1),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_learning_rates_follow_their_formula(name):
    schedule, expected = FORMULAS[name]
    t = schedules.step_counter()
    function = pytensor.function([], schedule(t), updates=schedules.advance(t))
    np.testing.assert_allclose([function() for _ in N], expected, rtol=1e-12)
    assert t.get_value() == len(N)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("optimizer", [optimizers.gradient_descent, optimizers.adam])
def test_every_schedule_is_a_learning_rate_for_an_optimizer(name, optimizer):
    schedule, expected = FORMULAS[name]
    ends = []
    for eta_of in (schedule, None):
        w = pytensor.shared(np.array([1.0, -2.0]), name="w")
        loss = (w**2).sum() / 2
        t, eta = schedules.step_counter(), pytensor.shared(1.0)
        updates = optimizer(loss, [w], eta_of(t) if eta_of else eta)
        step = pytensor.function([], updates=updates | schedules.advance(t))
        for value in expected:
            eta.set_value(value)  # by hand, for the second route
            step()
        ends.append(w.get_value())
    np.testing.assert_allclose(*ends, rtol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_learning_rates_have_floatx(name):
    with pytensor.config.change_flags(floatX="float32"):
        assert FORMULAS[name][0](schedules.step_counter()).dtype == "float32"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: schedules.constant(t, 0), "learning_rate is 0"),
        (lambda t: schedules.step_decay(t, -1, factor=0.5, every=10), "learning_rate is -1"),
        (lambda t: schedules.step_decay(t, 1, factor=0, every=10), "factor is 0"),
        (lambda t: schedules.exponential(t, 1, factor=0.5, every=0), "every is 0"),
        (lambda t: schedules.natural_exponential(t, 1, decay=-2), "decay is -2"),
        (lambda t: schedules.inverse_time(t, 1, decay=0), "decay is 0"),
        (lambda t: schedules.cosine(t, 1, n_steps=0), "n_steps is 0"),
        (lambda t: schedules.linear_to_zero(t, 1, n_steps=4, n_last=5), "n_last is 5"),
        (lambda t: schedules.linear_to_zero(t, 1, n_steps=4, n_last=0), "n_last is 0"),
        (
            lambda t: schedules.cosine(t, 1, n_steps=10, final_learning_rate=2),
            "final_learning_rate is 2",
        ),
        (lambda t: schedules.warm_up(t, 0, n_steps=10), "learning_rate is 0"),
        (lambda t: schedules.warm_up(t, 1, n_steps=0), "n_steps is 0"),
        (lambda t: schedules.exponential(t, 1, factor=0.5, every=np.nan), "every is nan"),
        (
            lambda t: schedules.cosine(t, pytensor.shared(0.1), n_steps=10),
            "learning_rate is .* a positive number",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(schedules.step_counter())


def test_the_counter_must_be_one_integer():
    for t in (pt.scalar("t"), pt.lvector("t")):
        with pytest.raises(ValueError, match=r"make it with step_counter\(\)"):
            schedules.exponential(t, 1, factor=0.5)
