import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode, get_mode

from symrnn.kernels.scatter_add import ScatterAdd

RNG = np.random.default_rng(1)
W0, ROWS, IDS = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3)), np.array([2, 0, 2, -1])
LIKE_NUMBA = Mode("py", get_mode("NUMBA").provided_optimizer)


def function(graph, inputs, mode):
    W = pytensor.shared(W0.copy())
    return W, pytensor.function(inputs, [], updates={W: graph(W, *inputs)}, mode=mode)


def uses_it(f):
    return any(isinstance(node.op, ScatterAdd) for node in f.maker.fgraph.toposort())


@pytest.mark.parametrize("mode", ["FAST_COMPILE", LIKE_NUMBA])
def test_every_row_is_added_in_order(mode):
    inputs = [pt.matrix("rows"), pt.lvector("ids")]
    W, f = function(lambda W, rows, ids: pt.inc_subtensor(W[ids], rows), inputs, mode)
    f(ROWS, IDS)
    expected = W0.copy()
    for i, row in zip(IDS, ROWS, strict=True):
        expected[i] += row
    np.testing.assert_array_equal(W.get_value(), expected)
    assert uses_it(f) == (mode is LIKE_NUMBA)


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
