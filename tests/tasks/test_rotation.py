import numpy as np
import pytest

from symrnn.tasks.rotation import TURNS, best_guess, rotation


def test_a_rotation_without_noise_turns_as_its_class_says():
    x, t = rotation(50, n_steps=9, rng=np.random.default_rng(0), noise=0)
    assert (x.shape, t.shape, t.dtype) == ((9, 50, 2), (50,), np.int64)
    assert set(t) == {0, 1, 2, 3}
    np.testing.assert_allclose(np.hypot(x[:, :, 0], x[:, :, 1]), 1)
    angle = np.unwrap(np.arctan2(x[:, :, 1], x[:, :, 0]), axis=0)
    np.testing.assert_allclose((angle[-1] - angle[0]) / (2 * np.pi) * 9 / 8, np.take(TURNS, t))


def test_noise_has_its_size():
    clean, _ = rotation(2000, rng=np.random.default_rng(0), noise=0)
    noisy, _ = rotation(2000, rng=np.random.default_rng(0), noise=0.6)
    assert np.std(noisy - clean) == pytest.approx(0.6, rel=0.02)


def test_a_share_of_the_labels_is_wrong_and_nothing_else_changes():
    x, t = rotation(10_000, rng=np.random.default_rng(0))
    same_x, labels = rotation(10_000, rng=np.random.default_rng(0), label_noise=0.2)
    np.testing.assert_array_equal(x, same_x)
    assert (labels != t).mean() == pytest.approx(0.2, abs=0.01)
    away = np.bincount((labels - t) % 4, minlength=4)[1:]
    np.testing.assert_allclose(away / away.sum(), 1 / 3, atol=0.03)
    assert (rotation(100, rng=np.random.default_rng(0), label_noise=1.0)[1] != t[:100]).all()


def test_the_best_guess_is_the_most_probable_class():
    """By integrating the probability of x over all starts."""
    rng, noise = np.random.default_rng(0), 1.5
    x, t = rotation(200, rng=rng, noise=noise)
    starts = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    angle = starts + 2 * np.pi * np.array(TURNS)[:, None, None] * np.arange(10)[:, None] / 10
    circles = np.stack([np.cos(angle), np.sin(angle)], axis=-1)  # (class, time, start, 2)
    log_p = [
        -((x[:, n, None] - circles) ** 2).sum(axis=(1, 3)) / (2 * noise**2) for n in range(len(t))
    ]
    expected = np.exp(log_p).mean(axis=2).argmax(axis=1)
    np.testing.assert_array_equal(best_guess(x), expected)
    assert 0.5 < (expected == t).mean() < 1


@pytest.mark.parametrize(
    "wrong",
    [{"n_samples": 0}, {"n_steps": 4}, {"noise": -1}, {"noise": np.nan}, {"label_noise": 1.1}],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} "):
        rotation(rng=np.random.default_rng(0), **{"n_samples": 5, **wrong})
