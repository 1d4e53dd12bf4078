import numpy as np
import pytest

from symrnn.tasks.copying import copying, copying_batches, repeat_copying


def test_a_copy_is_due_after_the_mark():
    x, t = copying(5, rng=np.random.default_rng(1), n_samples=3, n_bits=4)
    assert (x.shape, t.shape) == ((11, 3, 5), (5, 3, 4))
    np.testing.assert_array_equal(x[:5, :, :4], t)
    np.testing.assert_array_equal(x[:, 0, 4], np.arange(11) == 5)
    assert not x[5:, :, :4].any()
    assert set(t.flat) == {0, 1}


def test_a_repeated_copy_ends_with_a_mark():
    x, t = repeat_copying(2, repeats=3, rng=np.random.default_rng(1), n_samples=4, n_bits=6)
    assert (x.shape, t.shape) == ((2 + 1 + 6 + 1, 4, 7), (7, 4, 7))
    for k in range(3):
        np.testing.assert_array_equal(t[2 * k : 2 * k + 2, :, :6], x[:2, :, :6])
    np.testing.assert_array_equal(t[:, 0, 6], [0, 0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(x[:, 0, 6], [0, 0, 3, 0, 0, 0, 0, 0, 0, 0])
    assert not t[-1, :, :6].any()


@pytest.mark.parametrize("repeats", [None, (1, 3)])
def test_batches_have_all_lengths_and_are_reproducible(repeats):
    def draw(seed):
        rng = np.random.default_rng(seed)
        return list(
            copying_batches(
                100, rng=rng, batch_size=2, lengths=(1, 4), repeats=repeats, dtype="float32"
            )
        )

    once, again, other = draw(1), draw(1), draw(2)
    for (x, t), (x_2, t_2) in zip(once, again, strict=True):
        np.testing.assert_array_equal(x, x_2)
        np.testing.assert_array_equal(t, t_2)
        assert x.dtype == t.dtype == np.float32
    assert [len(x) for x, _ in once] != [len(x) for x, _ in other]
    found = {len(t) for _, t in once}
    lengths = range(1, 5)
    times = (1,) if repeats is None else range(1, 4)
    assert found == {length * k + (repeats is not None) for length in lengths for k in times}


def test_what_makes_no_sequence_is_refused():
    rng = np.random.default_rng(1)
    for call, message in (
        (lambda: copying(0, rng=rng), "length is 0"),
        (lambda: copying(1, rng=rng, n_samples=0), "n_samples is 0"),
        (lambda: copying(1, rng=rng, n_bits=0), "n_bits is 0"),
        (lambda: repeat_copying(1, 0, rng=rng), "repeats is 0"),
        (lambda: copying_batches(1, rng=rng, batch_size=1, lengths=(0, 2)), r"lengths is \(0, 2\)"),
        (lambda: copying_batches(1, rng=rng, batch_size=1, lengths=5), "lengths is 5"),
        (
            lambda: copying_batches(1, rng=rng, batch_size=1, lengths=(1.5, 2)),
            r"lengths is \(1.5, 2\)",
        ),
        (lambda: copying_batches(1, rng=rng, batch_size=1, repeats=(3, 2)), r"repeats is \(3, 2\)"),
        (lambda: copying_batches(0, rng=rng, batch_size=1), "n_batches is 0"),
        (lambda: copying_batches(1, rng=rng, batch_size=0), "batch_size is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="rng is None"):
        copying(1, rng=None)
    with pytest.raises(TypeError, match="dtype is bool, but the mark is a number"):
        repeat_copying(1, 3, rng=rng, dtype=bool)
