import numpy as np
import pytest

from symrnn.tasks.adding import adding


@pytest.mark.parametrize("rng", [np.random.default_rng, np.random.RandomState])
@pytest.mark.parametrize("n_steps", [2, 3, 100])
def test_one_number_of_each_half_is_marked_and_their_sum_is_the_target(rng, n_steps):
    x, t = adding(50, n_steps, rng=rng(0))
    assert (x.shape, t.shape) == ((n_steps, 50, 2), (50, 1))
    half = n_steps // 2
    for k in range(50):
        first, second = np.flatnonzero(x[:, k, 1])
        assert first < half <= second
        assert x[first, k, 1] == x[second, k, 1] == 1
        assert t[k, 0] == pytest.approx(x[first, k, 0] + x[second, k, 0])


def test_every_step_is_marked_now_and_then():
    x, _ = adding(1000, 10, rng=np.random.default_rng(0))
    np.testing.assert_allclose(x[:, :, 1].mean(axis=1), 1 / 5, atol=0.05)


def test_always_saying_the_mean_costs_a_sixth():
    _, t = adding(100_000, 5, rng=np.random.default_rng(0))
    assert t.mean() == pytest.approx(1, abs=0.005)
    assert t.var() == pytest.approx(1 / 6, abs=0.002)


def test_the_same_seed_makes_the_same_data():
    once, again = (adding(4, 10, rng=np.random.default_rng(3)) for _ in range(2))
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sizes", [{"n_samples": 0}, {"n_steps": 1}])
def test_sizes_that_leave_nothing_to_mark_are_refused(sizes):
    with pytest.raises(ValueError, match=r"is [01], but must be a whole number, at least [12]"):
        adding(rng=np.random.default_rng(0), **sizes)
