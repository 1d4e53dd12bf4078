import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.rewriting.shape import ShapeFeature

from symrnn.compiling.shapes import axis_length, keep_broadcastable, of_shape


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


def test_an_array_of_symbolic_shape_knows_static_sizes_and_asks_for_the_others():
    x = pt.tensor("x", shape=(None, 3))
    made = of_shape(pt.zeros, (x.shape[0], x.shape[1], 2, np.int64(1)))
    assert made.type.shape == (None, 3, 2, 1)
    assert pytensor.function([x], made, mode="FAST_COMPILE")(np.ones((4, 3))).shape == (4, 3, 2, 1)


def test_an_array_of_symbolic_shape_is_made_without_a_look_at_the_rest_of_the_graph(monkeypatch):
    def refuse(*_args):
        raise AssertionError("the whole graph is rewritten")

    x = pt.matrix("x")
    h = pt.tanh(x @ x.T)
    monkeypatch.setattr(ShapeFeature, "on_import", refuse)
    repeated = of_shape(lambda shape: pt.broadcast_to(x.sum(), shape), tuple(h.shape))
    monkeypatch.undo()
    np.testing.assert_array_equal(repeated.eval({x: np.ones((2, 3))}), np.full((2, 2), 6.0))


def test_a_size_that_is_no_integer_is_an_error():
    with pytest.raises(TypeError, match="integer"):
        of_shape(pt.zeros, (pt.dscalar("n") + 1,))
