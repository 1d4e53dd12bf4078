import numpy as np
import pytest

from symrnn.tasks.bit_counting import bit_counting, check_bits


def test_data_are_those_of_the_published_run():
    """Drawn row by row from the legacy generator, as the published code did."""
    rng = np.random.RandomState(1)
    rows = np.array([np.around(rng.rand(10)) for _ in range(20)])
    w_x, w_rec = rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1)

    ours = np.random.RandomState(1)
    X, t = bit_counting(rng=ours)
    np.testing.assert_array_equal(X.T, rows)
    np.testing.assert_array_equal(t, rows.sum(axis=1))
    assert (ours.uniform(-0.1, 0.1), ours.uniform(-0.1, 0.1)) == (w_x, w_rec)
    assert (round(w_x, 4), round(w_rec, 4)) == (0.0900, 0.0113)


def test_new_generators_work_as_well():
    X, t = bit_counting(n_samples=7, n_steps=30, rng=np.random.default_rng(0))
    assert X.shape == (30, 7)
    assert set(np.unique(X)) == {0, 1}
    np.testing.assert_array_equal(X.sum(axis=0), t)
    check_bits(X, t)


@pytest.mark.parametrize("sizes", [{"n_samples": 0}, {"n_steps": 0}])
def test_empty_data_are_not_made(sizes):
    with pytest.raises(ValueError, match="is 0, but must be a whole number, at least 1"):
        bit_counting(rng=np.random.default_rng(0), **sizes)


X, T = bit_counting(rng=np.random.RandomState(1))
HOLES = np.where(np.arange(20) == 3, np.nan, T)


@pytest.mark.parametrize(
    ("bad_X", "bad_t", "error", "message"),
    [
        (X.T, T, ValueError, r"X looks like \(samples, time\).*pass X\.T"),
        (X.astype(int), T, TypeError, r"X has dtype int64.*X\.astype"),
        (X, T.astype(int), TypeError, "t has dtype int64"),
        (X, T[:15], ValueError, r"\(10, 20\).*15 targets: there must be one target for each"),
        (X[:0], T, ValueError, "at least one time step"),
        (X, HOLES, ValueError, "t has 1 values that are NaN"),
        (np.where(X == 1, np.inf, X), T, ValueError, "X has .* values that are NaN or infinite"),
        (X[:, 0], T, ValueError, r"X has shape \(10,\)"),
        (X[:, :, None], T, ValueError, r"X has shape \(10, 20, 1\)"),
    ],
)
def test_data_that_do_not_fit_are_refused(bad_X, bad_t, error, message):
    with pytest.raises(error, match=message):
        check_bits(bad_X, bad_t)
