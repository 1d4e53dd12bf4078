import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.compiling.shapes import axis_length, keep_broadcastable


def test_a_static_length_is_a_number_and_another_a_variable():
    x = pt.tensor("x", shape=(None, 3))
    assert axis_length(x, 1) == 3
    assert axis_length(x, 0).eval({x: np.ones((2, 3))}) == 2


def test_axes_of_size_1_are_kept_and_checked_when_the_function_is_called():
    old, new = pt.tensor("old", shape=(1, None)), pt.matrix("new")
    kept = keep_broadcastable(old, new)
    assert kept.type.broadcastable == (True, False)
    f = pytensor.function([new], kept, mode="FAST_COMPILE")
    np.testing.assert_array_equal(f(np.ones((1, 2))), np.ones((1, 2)))
    with pytest.raises((AssertionError, ValueError, TypeError), match="1"):
        f(np.ones((2, 2)))


def test_without_axes_of_size_1_the_variable_is_returned_as_it_is():
    old, new = pt.matrix("old"), pt.matrix("new")
    assert keep_broadcastable(old, new) is new
