import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode, get_mode

from symrnn.compiling.modes import QUICK
from symrnn.kernels.scatter_add import ScatterAdd, add_rows

RNG = np.random.default_rng(1)
W0, ROWS, IDS = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3)), np.array([2, 0, 2, -1])
LIKE_NUMBA = Mode("py", get_mode("NUMBA").provided_optimizer)


def function(graph, inputs, mode):
    W = pytensor.shared(W0.copy())
    return W, pytensor.function(inputs, [], updates={W: graph(W, *inputs)}, mode=mode)


def uses_it(f):
    return any(isinstance(node.op, ScatterAdd) for node in f.maker.fgraph.toposort())


@pytest.mark.parametrize("mode", ["FAST_COMPILE", QUICK, LIKE_NUMBA])
def test_every_row_is_added_in_order(mode):
    inputs = [pt.matrix("rows"), pt.lvector("ids")]
    W, f = function(lambda W, rows, ids: pt.inc_subtensor(W[ids], rows), inputs, mode)
    f(ROWS, IDS)
    expected = W0.copy()
    for i, row in zip(IDS, ROWS, strict=True):
        expected[i] += row
    np.testing.assert_array_equal(W.get_value(), expected)
    assert uses_it(f) == (mode != "FAST_COMPILE")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 3, 16, 65, 200])
@pytest.mark.parametrize("id_dtype", ["int64", "int32", "uint8"])
def test_rows_of_any_width_equal_numpys(dtype, width, id_dtype):
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(7, width)).astype(dtype)
    rows = rng.normal(size=(width + 50, width)).astype(dtype)[50:]  # not where a vector begins
    ids = rng.integers(7, size=width).astype(id_dtype)
    expected = matrix.copy()
    np.add.at(expected, ids, rows)
    border = np.full((9, width), -7.0, dtype)
    border[1:-1] = matrix
    add_rows(border[1:-1], rows, ids)
    np.testing.assert_array_equal(border[1:-1], expected)
    assert (border[[0, -1]] == -7).all()
    transposed = np.asfortranarray(matrix)
    add_rows(transposed, np.asfortranarray(rows), np.repeat(ids, 2)[::2])
    np.testing.assert_array_equal(transposed, expected)


def test_no_rows_change_nothing():
    matrix = np.ones((2, 3))
    add_rows(matrix, np.ones((0, 3)), np.zeros(0, np.int64))
    assert (matrix == 1).all()


def test_the_default_mode_changes_a_copy_and_refuses_rows_that_are_not_there():
    W, rows, ids = pt.matrix("W"), pt.matrix("rows"), pt.lvector("ids")
    f = pytensor.function([W, rows, ids], pt.inc_subtensor(W[ids], rows), mode=QUICK)
    before = W0.copy()
    f(before, ROWS, IDS)
    np.testing.assert_array_equal(before, W0)
    for wrong in (5, -6):
        with pytest.raises(IndexError, match=f"{wrong}, is not the index of a row"):
            f(W0, ROWS, np.array([0, 1, 2, wrong]))
    for some_rows, some_ids in ((ROWS[:3], IDS), (ROWS[:, :2], IDS)):
        with pytest.raises(ValueError, match="as many rows as ids"):
            f(W0, some_rows, some_ids)


@pytest.mark.numba
def test_numba_adds_the_same_and_refuses_rows_that_are_not_there():
    inputs = [pt.matrix("rows"), pt.lvector("ids")]
    W, f = function(lambda W, rows, ids: pt.inc_subtensor(W[ids], rows), inputs, "NUMBA")
    f(ROWS, IDS)
    expected = W0.copy()
    np.add.at(expected, IDS, ROWS)
    np.testing.assert_array_equal(W.get_value(), expected)
    for wrong in (5, -6):
        with pytest.raises(IndexError, match="not the index of a row"):
            f(ROWS, np.array([0, 1, 2, wrong]))
    for rows, ids in ((ROWS[:3], IDS), (ROWS[:, :2], IDS)):
        with pytest.raises(ValueError, match="as many rows as ids"):
            f(rows, ids)


def test_the_gradient_of_taken_rows_uses_it_too():
    W, ids = pytensor.shared(W0), pt.lvector("ids")
    gradient = pytensor.grad((W[ids] ** 3).sum(), W)
    f = pytensor.function([ids], gradient, mode=LIKE_NUMBA)
    assert uses_it(f)
    expected = np.zeros_like(W0)
    np.add.at(expected, IDS, 3 * W0[IDS] ** 2)
    np.testing.assert_allclose(f(IDS), expected)


@pytest.mark.parametrize(
    "graph",
    [
        lambda W, row, ids: pt.inc_subtensor(W[ids], row),
        lambda W, row, ids: pt.inc_subtensor(W[ids], row[None]),
        lambda W, row, ids: pt.set_subtensor(W[ids], row[ids]),
        lambda W, row, ids: pt.inc_subtensor(W[:, 0][ids], row)[:, None] + W,
    ],
)
def test_other_additions_are_left_as_they_are(graph):
    inputs = [pt.vector("row"), pt.lvector("ids")]
    _, f = function(graph, inputs, LIKE_NUMBA)
    assert not uses_it(f)
