import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from symrnn.nn.cells import LSTMCell
from symrnn.nn.module import Module
from symrnn.nn.recurrent import unroll


def test_the_default_mode_says_what_the_shape_is_and_what_the_cell_was_made_for():
    net = Module(cell=LSTMCell(2, 3, rng=np.random.default_rng(1)))
    x, h, c = pt.tensor3("x"), pt.matrix("h"), pt.matrix("c")
    outputs, _ = unroll(net.cell, x, initial_state=(h, c))
    f = pytensor.function([x, h, c], outputs, mode="FAST_COMPILE")
    states = np.ones((4, 3)), np.ones((4, 3))
    with pytest.raises(ValueError, match=r"LSTMCell cell .*made for 2, but .* \(5, 4, 6\)"):
        f(np.ones((5, 4, 6)), *states)
    with pytest.raises(ValueError, match=r"3 hidden units, but the shape is \(4, 7\)"):
        f(np.ones((5, 4, 2)), states[0], np.ones((4, 7)))


@pytest.mark.numba
def test_numba_has_one_key_on_disk_for_cells_of_all_sizes():
    from pytensor.link.numba.dispatch.basic import numba_funcify_ensure_cache

    keys = []
    for n_in, n_hidden in ((2, 3), (4, 5)):
        cell = LSTMCell(n_in, n_hidden, rng=np.random.default_rng(1))
        x, h, c = pt.tensor3("x"), pt.matrix("h"), pt.matrix("c")
        loss = (unroll(cell, x, initial_state=(h, c))[0] ** 2).mean()
        graph = [loss, *pytensor.grad(loss, cell.params)]
        f = pytensor.function([x, h, c], graph, mode="NUMBA")  # compiled when first called
        keys.append(numba_funcify_ensure_cache(f.maker.fgraph)[1])
    assert keys[0] is not None
    assert keys[0] == keys[1]
