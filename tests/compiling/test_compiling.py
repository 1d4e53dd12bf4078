import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.builders import OpFromGraph
from pytensor.scalar.basic import Second
from pytensor.tensor.elemwise import Elemwise
from threadpoolctl import threadpool_info

from symrnn.compiling.background import compile_in_background
from symrnn.compiling.modes import FAST, QUICK
from symrnn.compiling.warming import compile_to_disk
from symrnn.nn.cells import LSTMCell
from symrnn.nn.layers import LayerNorm
from symrnn.nn.recurrent import unroll
from symrnn.training.optimizers import gradient_descent


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def training(rng):
    """A step of training in background, and the same compiled at once."""
    x, cell = pt.tensor3("x"), LSTMCell(2, 3, rng=rng)
    loss = (unroll(cell, x)[0] ** 2).mean()
    return x, cell, loss, gradient_descent(loss, cell.params, 0.1)


def test_quick_mode_compiles_nothing_and_equals_fast_compile(monkeypatch):
    x, cell, loss, _ = training(np.random.default_rng(0))
    wanted = [loss, *pytensor.grad(loss, cell.params)]
    value = np.random.default_rng(1).normal(size=(4, 2, 2))
    expected = pytensor.function([x], wanted, mode="FAST_COMPILE")(value)

    def refuse(*args, **kwargs):
        raise AssertionError("the C compiler was called")

    monkeypatch.setattr("pytensor.link.c.cmodule.GCC_compiler.compile_str", refuse)
    for got, e in zip(pytensor.function([x], wanted, mode=QUICK)(value), expected, strict=True):
        np.testing.assert_allclose(got, e, rtol=0, atol=1e-12)


def test_quick_mode_fills_arrays_without_calling_python_for_each_element():
    a, b, row = pt.matrix("a"), pt.matrix("b"), pt.row("row")
    filled = [pt.second(a, b), pt.second(row, b), pt.second(b, row), pt.second(a, 2.0)]
    f = pytensor.function([a, b, row], filled, mode=QUICK)
    assert not [
        n for n in f.maker.fgraph.apply_nodes
        if isinstance(n.op, Elemwise) and isinstance(n.op.scalar_op, Second)
    ]  # fmt: skip
    values = np.arange(6.0).reshape(2, 3), np.ones((2, 3)), np.array([[7.0, 8.0, 9.0]])
    expected = [values[1], values[1], np.repeat(values[2], 2, axis=0), np.full((2, 3), 2.0)]
    for got, e in zip(f(*values), expected, strict=True):
        np.testing.assert_array_equal(got, e)


def test_quick_mode_writes_out_graphs_within_a_node():
    x = pt.matrix("x")
    softmax = pytensor.function([x], pt.special.softmax(x, axis=-1), mode=QUICK)
    value = np.random.default_rng(1).normal(size=(4, 5))
    expected = np.exp(value) / np.exp(value).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(value), expected, rtol=0, atol=1e-15)
    nodes = softmax.maker.fgraph.apply_nodes
    assert not any(isinstance(node.op, OpFromGraph) for node in nodes)  # those get compiled


def test_quick_mode_has_a_softplus_of_whole_arrays():
    x = pt.vector("x")
    f = pytensor.function([x], pt.softplus(x), mode=QUICK)
    names = [str(node.op) for node in f.maker.fgraph.toposort()]
    assert not any("oftplus" in name for name in names), names
    given = np.array([-800.0, -30.0, -1e-9, 0.0, 2.0, 30.0, 800.0])
    np.testing.assert_allclose(f(given), np.logaddexp(0, given), rtol=1e-14)


def test_fast_mode_multiplies_two_arrays_at_a_time_and_equals_fast_compile():
    x, norm = pt.matrix("x"), LayerNorm(5)
    gradient = pytensor.grad((norm(x) ** 3).sum(), x)
    functions = [pytensor.function([x], gradient, mode=mode) for mode in ("FAST_COMPILE", FAST)]
    value = np.random.default_rng(0).normal(size=(4, 5))
    np.testing.assert_allclose(*(f(value) for f in functions), rtol=0, atol=1e-12)
    most = [
        max(len(n.inputs) for n in f.maker.fgraph.apply_nodes if isinstance(n.op, Elemwise))
        for f in functions
    ]
    assert most[0] > most[1] == 2


def test_training_goes_on_over_the_switch_as_if_there_were_none(capsys):
    x, cell, loss, updates = training(np.random.default_rng(0))
    start = [p.get_value() for p in cell.params]
    value = np.random.default_rng(1).normal(size=(4, 2, 2))
    reference = pytensor.function([x], loss, updates=updates, mode=QUICK)
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


def test_a_compiler_that_fails_is_told_of_and_training_goes_on(capsys, monkeypatch):
    monkeypatch.setattr("symrnn.compiling.modes.sys.executable", "false")
    x = pt.dscalar("x")
    step = compile_in_background([x], 2 * x, mode="FAST_COMPILE")
    assert step(1.0) == 2
    step.wait()
    assert step(2.0) == 4
    assert "goes on without" in capsys.readouterr().err


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


def test_what_cannot_be_handed_over_is_told_of_and_training_goes_on(capsys):
    class Unpicklable:
        def __reduce__(self):
            raise TypeError("cannot be pickled")

    x = pt.dscalar("x")
    x.tag.own = Unpicklable()
    step = compile_in_background([x], 2 * x, mode="FAST_COMPILE")
    assert [step(1.0), step(2.0)] == [2, 4]
    err = capsys.readouterr().err
    assert err.count("goes on without: cannot be pickled") == 1


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


@pytest.mark.skipif(sys.platform != "linux", reason="fork")
def test_compile_to_disk_calls_a_function_in_a_copy_of_the_process_alone(capfd):
    total, x = pytensor.shared(0.0), pt.dscalar("x")
    step = pytensor.function([x], total, updates={total: total + x})
    assert compile_to_disk(step, [2.0])
    assert total.get_value() == 0
    assert not compile_to_disk(step, ["no number"])
    assert capfd.readouterr() == ("", "")
