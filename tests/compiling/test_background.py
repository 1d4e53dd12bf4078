from pathlib import Path

import numpy as np
import pytensor.tensor as pt
import pytest
from threadpoolctl import threadpool_info

from symrnn.compiling.background import compile_in_background
from symrnn.compiling.function import function
from symrnn.nn.cells import LSTMCell
from symrnn.nn.recurrent import unroll
from symrnn.training.optimizers import gradient_descent


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def training(rng):
    """Input, cell, loss and updates of a small net's training."""
    x, cell = pt.tensor3("x"), LSTMCell(2, 3, rng=rng)
    loss = (unroll(cell, x)[0] ** 2).mean()
    return x, cell, loss, gradient_descent(loss, cell.params, 0.1)


def test_a_training_continues_over_the_switch_as_if_there_were_none(capsys):
    x, cell, loss, updates = training(np.random.default_rng(0))
    start = [p.get_value() for p in cell.params]
    value = np.random.default_rng(1).normal(size=(4, 2, 2))
    reference = function([x], loss, updates)
    expected = [reference(value) for _ in range(6)]
    for p, v in zip(cell.params, start, strict=True):
        p.set_value(v)
    threads = blas_threads()
    step = compile_in_background([x], loss, updates, mode="FAST_COMPILE")
    losses = [step(value) for _ in range(3)]
    assert step.mode == "QUICK"
    assert blas_threads() == {1}
    step.wait()
    losses += [step(value) for _ in range(3)]
    assert step.mode == "FAST_COMPILE"
    assert blas_threads() == threads
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-12)
    assert "call 4: compiled for mode FAST_COMPILE in" in capsys.readouterr().err


def test_generators_of_the_graph_advance_before_and_after_the_switch():
    rng = pt.random.shared_rng(seed=1)
    _, x = rng.uniform(size=(3,))
    step = compile_in_background([], x, mode="FAST_COMPILE")
    draws = [step(), step()]
    step.wait()
    draws += [step(), step()]
    assert step.mode == "FAST_COMPILE"
    np.testing.assert_array_equal(draws, np.random.default_rng(1).uniform(size=(4, 3)))


def test_the_other_process_knows_the_rewrites_that_this_one_knows(monkeypatch):
    monkeypatch.setattr("symrnn.compiling.background._OTHER_PROCESS", PRINT_REWRITES)
    x = pt.dmatrix("x")  # nothing of symrnn is in the graph
    step = compile_in_background([x], x.T @ x, mode="FAST_COMPILE")
    step(np.ones((2, 2)))
    step._compiler.wait()
    errors = Path(step._folder) / "errors"
    assert "symrnn_products" in errors.read_text()


PRINT_REWRITES = """
import pathlib, sys
from pytensor.compile.mode import optdb
from symrnn.compiling import background
background._compile(pathlib.Path(sys.argv[1]))
print([name for name in optdb._names if "symrnn" in name], file=sys.stderr)
"""


def test_a_compiler_that_fails_is_reported_and_the_training_continues(capsys, monkeypatch):
    monkeypatch.setattr("symrnn.compiling.background.sys.executable", "false")
    x = pt.dscalar("x")
    step = compile_in_background([x], 2 * x, mode="FAST_COMPILE")
    assert step(1.0) == 2
    step.wait()
    assert step(2.0) == 4
    assert "continues without" in capsys.readouterr().err


def test_a_wrong_call_does_not_keep_it_from_compiling(capsys):
    x = pt.dscalar("x")
    step = compile_in_background([x], 2 * x, mode="FAST_COMPILE")
    with pytest.raises(ValueError, match="one"):
        step("one")
    assert step(1.0) == 2
    step.wait()
    assert step(2.0) == 4
    assert step.mode == "FAST_COMPILE"
    assert "call 2: compiled for mode FAST_COMPILE" in capsys.readouterr().err


def test_a_graph_that_cannot_be_pickled_is_reported_and_the_training_continues(capsys):
    class Unpicklable:
        def __reduce__(self):
            raise TypeError("cannot be pickled")

    x = pt.dscalar("x")
    x.tag.own = Unpicklable()
    step = compile_in_background([x], 2 * x, mode="FAST_COMPILE")
    assert [step(1.0), step(2.0)] == [2, 4]
    err = capsys.readouterr().err
    assert err.count("continues without: cannot be pickled") == 1


def test_a_mode_that_leaves_nothing_on_disk_is_refused():
    with pytest.raises(ValueError, match="leaves no code on disk"):
        compile_in_background([], pt.constant(1.0), mode="JAX")


def test_a_mode_that_does_not_exist_is_refused_at_once():
    with pytest.raises(ValueError, match="SLOW"):
        compile_in_background([], pt.constant(1.0), mode="SLOW")


@pytest.mark.numba
@pytest.mark.slow
def test_it_switches_to_numba():
    x, _cell, loss, updates = training(np.random.default_rng(0))
    step = compile_in_background([x], loss, updates)
    value = np.random.default_rng(1).normal(size=(4, 2, 2))
    first = step(value)
    step.wait()
    assert step.mode == "NUMBA"
    assert step(value) < first
