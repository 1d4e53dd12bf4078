import numpy as np
import pytest

from symrnn.text import documents, shuffled_windows, split, streams, windows


@pytest.fixture
def mapped(tmp_path):
    """Return a function that puts an array into a file and maps it into memory."""

    def to_file(array):
        np.save(tmp_path / "tokens.npy", array)
        return np.load(tmp_path / "tokens.npy", mmap_mode="r")

    return to_file


@pytest.mark.parametrize("n_tokens", [10, 11, 37, 100])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_streams_predict_every_token_once_and_in_order(n_tokens, batch_size, n_steps):
    tokens = np.arange(n_tokens, dtype=np.uint8)
    batches = streams(tokens, batch_size=batch_size, n_steps=n_steps)
    length = (n_tokens - 1) // batch_size
    x = np.concatenate([x for x, _ in batches])
    t = np.concatenate([t for _, t in batches])
    left_out = (n_tokens - 1) % batch_size
    assert x.shape == t.shape == (length, batch_size)
    assert t.T.ravel().tolist() == list(range(1, n_tokens - left_out))
    np.testing.assert_array_equal(x, t - 1)  # every batch stream continues in the next batch
    sizes = [len(x) for x, _ in batches]
    assert sizes[:-1] == [n_steps] * (len(batches) - 1)
    assert sizes[-1] == (length % n_steps or n_steps)


def test_streams_are_a_sequence():
    batches = streams(np.arange(100), batch_size=3, n_steps=5)
    assert len(batches) == len(list(batches)) == len(list(batches)) == 7
    np.testing.assert_array_equal(batches[-1][0], batches[6][0])
    assert [x[0, 0] for x, _ in batches[2:4]] == [10, 15]
    with pytest.raises(IndexError):
        batches[7]


def test_batches_are_int64_and_time_comes_first(mapped):
    tokens = mapped(np.arange(200, dtype=np.uint8))
    rng = np.random.default_rng(0)
    for x, t in (
        streams(tokens, batch_size=4, n_steps=7)[0],
        windows(tokens, n_samples=4, n_steps=7, rng=rng),
        next(shuffled_windows(tokens, batch_size=4, n_steps=7, rng=rng)),
    ):
        for array in (x, t):
            assert (type(array), array.dtype, array.shape) == (np.ndarray, np.int64, (7, 4))
            assert array.flags.c_contiguous
        np.testing.assert_array_equal(t, x + 1)


def test_a_split_of_a_file_stays_in_the_file(mapped):
    tokens = mapped(np.arange(1000, dtype=np.uint16))
    parts = split(tokens, (0.9, 0.05, 0.05))
    assert [len(part) for part in parts] == [900, 50, 50]
    np.testing.assert_array_equal(np.concatenate(parts), tokens)
    for array in (*parts, *documents(tokens, 500), streams(tokens, batch_size=4, n_steps=7)._x):
        assert np.shares_memory(array, tokens)


@pytest.mark.parametrize("n", [10, 11, 12, 13, 99])
@pytest.mark.parametrize("fractions", [(1,), (0.5, 0.5), (0.7, 0.2, 0.1), (1 / 3, 1 / 3, 1 / 3)])
def test_a_split_leaves_nothing_out(n, fractions):
    parts = split(np.arange(n), fractions)
    assert len(parts) == len(fractions)
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(n))
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - n * fraction) <= 1


def test_random_windows_start_anywhere():
    x, t = windows(np.arange(8), n_samples=10_000, n_steps=5, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(t, x + 1)
    np.testing.assert_allclose(np.bincount(x[0]) / 10_000, [1 / 3] * 3, atol=0.02)


def test_shuffled_windows_are_all_windows_once():
    batches = list(
        shuffled_windows(np.arange(102), batch_size=4, n_steps=10, rng=np.random.default_rng(0))
    )
    assert [x.shape for x, _ in batches] == [(10, 4), (10, 4), (10, 2)]
    starts = np.concatenate([x[0] for x, _ in batches])
    assert sorted(starts) == list(range(0, 100, 10))
    assert list(starts) != sorted(starts)
    for x, t in batches:
        np.testing.assert_array_equal(x, x[0] + np.arange(10)[:, None])
        np.testing.assert_array_equal(t, x + 1)


@pytest.mark.parametrize("n_steps", [1, 4, 5])
@pytest.mark.parametrize("n_tokens", [20, 21, 22, 24, 25])  # 21: n_steps divides n_tokens - 1
def test_shuffled_windows_leave_out_only_what_does_not_fill_a_window(n_tokens, n_steps):
    rng = np.random.default_rng(0)
    batches = list(shuffled_windows(np.arange(n_tokens), batch_size=3, n_steps=n_steps, rng=rng))
    predicted = sorted(np.concatenate([t.ravel() for _, t in batches]).tolist())
    left_out = (n_tokens - 1) % n_steps
    assert predicted == list(range(1, n_tokens - left_out))


def test_documents_end_with_their_token():
    tokens = np.random.default_rng(0).integers(50, size=3_000_000)  # more than one piece of 2 ** 20
    parts = documents(tokens, end=0)
    np.testing.assert_array_equal(np.concatenate(parts), tokens)
    assert len(parts) == (tokens == 0).sum() + (tokens[-1] != 0)
    assert all(part[-1] == 0 and (part[:-1] != 0).all() for part in parts[:1000])
    assert [len(part) for part in documents(np.array([1, 2, 0]), 0)] == [3]
    assert [len(part) for part in documents(np.array([1, 2]), 0)] == [2]


def test_shuffled_documents_are_the_same_in_another_order():
    tokens = np.array([1, 0, 2, 2, 0, 3, 0, 4, 4, 4, 0])
    in_order = [part.tolist() for part in documents(tokens, 0)]
    shuffled = [part.tolist() for part in documents(tokens, 0, rng=np.random.default_rng(0))]
    assert sorted(shuffled) == sorted(in_order)
    assert shuffled != in_order


def test_the_same_seed_draws_the_same():
    tokens = np.arange(1000)
    for draw in (
        lambda rng: windows(tokens, n_samples=5, n_steps=10, rng=rng)[0],
        lambda rng: next(shuffled_windows(tokens, batch_size=5, n_steps=10, rng=rng))[0],
        lambda rng: np.concatenate(documents(tokens % 7, 0, rng=rng)),
    ):
        once, again, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(once, again)
        assert (once != other).any()


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: streams(np.arange(10), batch_size=0, n_steps=3),
            ValueError,
            "batch_size is 0, but must be a whole",
        ),
        (
            lambda: streams(np.arange(10), batch_size=1.5, n_steps=3),
            ValueError,
            "batch_size is 1.5",
        ),
        (lambda: streams(np.arange(10), batch_size=1, n_steps=0), ValueError, "n_steps is 0"),
        (
            lambda: streams(np.arange(10), batch_size=3, n_steps=4),
            ValueError,
            "10 tokens in 3 batch streams give 3 steps each",
        ),
        (
            lambda: streams(np.arange(1), batch_size=1, n_steps=1),
            ValueError,
            "give 0 steps each, fewer than n_steps, 1",
        ),
        (
            lambda: windows(np.arange(5), n_samples=1, n_steps=5, rng=RNG),
            ValueError,
            "5 tokens, but .* need 6",
        ),
        (
            lambda: windows(np.arange(5), n_samples=0, n_steps=2, rng=RNG),
            ValueError,
            "n_samples is 0",
        ),
        (
            lambda: windows(np.arange(5), n_samples=1, n_steps=2, rng=1),
            TypeError,
            "rng is 1, but must be a generator",
        ),
        (
            lambda: shuffled_windows(np.arange(5), batch_size=1, n_steps=5, rng=RNG),
            ValueError,
            "need 6",
        ),
        (lambda: streams([1, 2, 3], batch_size=1, n_steps=1), TypeError, "the tokens are list"),
        (lambda: streams(np.ones(9), batch_size=1, n_steps=1), TypeError, "the tokens are float64"),
        (
            lambda: streams(np.ones((3, 3), int), batch_size=1, n_steps=1),
            ValueError,
            r"shape \(3, 3\)",
        ),
        (lambda: documents(np.ones(0, int), 1), ValueError, "not be empty"),
        (lambda: documents(np.arange(9), None), TypeError, "end is None, but must be a token id"),
        (lambda: split(np.arange(9), (0.5, 0.6)), ValueError, "positive and their sum 1"),
        (lambda: split(np.arange(9), (1.5, -0.5)), ValueError, "positive and their sum 1"),
        (lambda: split(np.arange(9), ()), ValueError, "positive and their sum 1"),
        (lambda: split(np.arange(3), (0.9, 0.1)), ValueError, r"3 tokens are too few .*\(3, 0\)"),
    ],
)
def test_what_makes_no_batches_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
