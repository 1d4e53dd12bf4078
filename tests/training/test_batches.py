"""Batches of samples, and the check of a batch against a compiled function."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.training.batches import check_batch, minibatches


def test_minibatches_follow_the_order_of_the_arrays_or_of_the_generator():
    x, t = np.arange(10).reshape(2, 5), np.arange(5)
    whole = list(minibatches([x, t], 2, axes=[1, 0]))
    assert [batch[1].tolist() for batch in whole] == [[0, 1], [2, 3], [4]]
    shuffled = list(minibatches([x, t], 2, rng=np.random.default_rng(3), axes=[1, 0]))
    order = np.random.default_rng(3).permutation(5)
    np.testing.assert_array_equal(np.concatenate([b for _, b in shuffled]), order)
    np.testing.assert_array_equal(np.concatenate([a for a, _ in shuffled], axis=1), x[:, order])


def test_minibatches_refuse_what_does_not_fit():
    x, t = np.zeros((2, 5)), np.zeros(5)
    with pytest.raises(ValueError, match=r"\[2, 5\] samples along axes \[0, 0\].*axis 1"):
        list(minibatches([x, t], 2))
    with pytest.raises(ValueError, match="batch_size is 0"):
        list(minibatches([t], 0))
    with pytest.raises(ValueError, match="axes has 1 entries for 2 arrays"):
        list(minibatches([x, t], 2, axes=[1]))
    with pytest.raises(TypeError, match="rng is 1, but must be a generator"):
        list(minibatches([t], 2, rng=1))
    with pytest.raises(ValueError, match=r"\[0\] samples"):
        list(minibatches([np.zeros(0)], 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_integers_where_floats_are_expected_are_refused(dtype):
    x = pt.matrix("X", dtype=dtype)
    function = pytensor.function([x], x.sum())
    for given in ("int64", "int8", "bool"):
        with pytest.raises(TypeError, match=rf"X was given as {given}.*X\.astype\('{dtype}'\)"):
            check_batch(function, (np.ones((2, 2), dtype=given),))


def test_what_pytensor_itself_would_convert_is_accepted():
    x, k, rate = pt.fmatrix("X"), pt.ivector("k"), pt.fscalar("rate")
    function = pytensor.function([x, k, rate], x.sum() + k.sum() + rate)
    good = (np.ones((2, 2), dtype="float32"), np.ones(2, dtype="int32"), 0.5)
    check_batch(function, good)
    function(*good)
    with pytest.raises(TypeError, match="X was given as float64 with shape"):
        check_batch(function, (np.ones((2, 2)), *good[1:]))
    downcasting = pytensor.function([x], x.sum(), allow_input_downcast=True)
    check_batch(downcasting, (np.ones((2, 2)),))
