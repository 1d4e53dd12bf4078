"""Memory that is kept from call to call: used again, but never by two arrays at once."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.compiling.modes import QUICK
from symrnn.kernels import buffers
from symrnn.kernels.buffers import ALIGNMENT, SMALL, empty
from symrnn.nn.cells import LSTMCell
from symrnn.nn.recurrent import unroll


@pytest.fixture(autouse=True)
def _buffers_of_this_test_alone(monkeypatch):
    monkeypatch.setattr(buffers, "_BUFFERS", [])


def address(array):
    return array.__array_interface__["data"][0]


def test_arrays_have_the_shape_and_dtype_and_begin_where_a_vector_does():
    for shape in ((), (3,), (0, 5), (SMALL,), (3, SMALL), (7, 11, 1003)):
        for dtype in ("float32", "float64", np.dtype("bool")):
            array = empty(shape, dtype)
            assert array.shape == shape
            assert array.dtype == dtype
            assert array.flags.writeable
            assert array.flags.c_contiguous
            if array.nbytes >= SMALL:
                assert address(array) % ALIGNMENT == 0


def test_no_two_living_arrays_share_memory():
    rng, living = np.random.default_rng(0), []
    for k in range(400):
        array = empty((int(rng.integers(SMALL // 2, 3 * SMALL)),), "float32")
        array[...] = k
        living.append((k, array))
        if len(living) > 12:
            living.pop(int(rng.integers(len(living))))
        for number, other in living:
            assert (other == number).all()


@pytest.mark.parametrize(
    "kept",
    [
        lambda a: a[3:5],
        lambda a: a.T,
        lambda a: a.reshape(-1)[::2],
        lambda a: a.view("uint8"),
        lambda a: memoryview(a),
        lambda a: np.asarray(a)[None],
        lambda a: iter(a),
        lambda a: np.lib.stride_tricks.as_strided(a, (2,), (8,)),
        lambda a: a.__array_interface__ and a.data,
    ],
)
def test_memory_is_not_used_again_while_a_view_of_it_lives(kept):
    array = empty((10, SMALL), "float64")
    array[...] = 7
    before, view = address(array), kept(array)
    del array
    gc.collect()
    other = empty((10, SMALL), "float64")
    assert address(other) != before
    del view
    assert address(empty((10, SMALL), "float64")) == before


def test_memory_is_used_again_once_nobody_uses_it():
    places = set()
    for _ in range(10):
        array = empty((2, SMALL), "float64")
        places.add(address(array))
        del array
    assert len(places) == 1
    assert len(buffers._BUFFERS) == 1


def test_memory_of_another_size_is_taken_if_it_fits_and_is_not_twice_as_large():
    place = address(empty((4 * SMALL,), "uint8"))
    assert address(empty((3 * SMALL,), "uint8")) == place
    assert address(empty((2 * SMALL,), "uint8")) == place
    assert address(empty((2 * SMALL - 1,), "uint8")) != place
    assert address(empty((4 * SMALL + 1,), "uint8")) != place


def test_the_smallest_memory_that_fits_is_taken():
    large, small = empty((40 * SMALL,), "uint8"), empty((30 * SMALL,), "uint8")
    place = address(small)
    del large, small
    assert address(empty((25 * SMALL,), "uint8")) == place


def test_memory_that_was_not_used_for_long_is_given_back(monkeypatch):
    monkeypatch.setattr(buffers, "_MOST_UNUSED", 5)
    array, unused = empty((4 * SMALL,), "uint8"), empty((50 * SMALL,), "uint8")
    array[...] = 3
    del unused
    for _ in range(6):
        empty((SMALL,), "uint8")
    kept = empty((200 * SMALL,), "uint8")
    assert not [b for b in buffers._BUFFERS if b.size == 50 * SMALL]
    assert [b for b in buffers._BUFFERS if b.size == 4 * SMALL]  # a living array's
    assert (array == 3).all()
    assert kept.size


def test_threads_never_get_the_same_memory():
    def work(number):
        for k in range(300):
            array = empty((SMALL + 40 * (k % 7),), "uint8")
            array[...] = number
            again = empty((SMALL,), "uint8")
            again[...] = number + 100
            if not ((array == number).all() and (again == number + 100).all()):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_results_that_a_user_keeps_are_not_overwritten_by_later_calls():
    cell, x = LSTMCell(3, 60, rng=np.random.default_rng(0)), pt.tensor3("x", dtype="float64")
    h, final = unroll(cell, x)
    gradients = pytensor.grad((h**2).sum(), [x, *cell.params])
    f = pytensor.function([x], [h, *final, *gradients], mode=QUICK)
    values = np.random.default_rng(1).normal(size=(4, 20, 30, 3))
    kept, copies = [], []
    for value in values:
        kept.append(f(value))
        copies.append([v.copy() for v in kept[-1]])
    part = kept.pop(0)[0][3, ::2]  # of this result a part is kept
    wanted = copies.pop(0)[0][3, ::2]
    for value in values:
        f(value)
    np.testing.assert_array_equal(part, wanted)
    for results, before in zip(kept, copies, strict=True):
        for a, b in zip(results, before, strict=True):
            np.testing.assert_array_equal(a, b)
