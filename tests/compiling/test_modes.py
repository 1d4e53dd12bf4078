import re

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.builders import OpFromGraph
from pytensor.scalar.basic import Second
from pytensor.tensor.elemwise import Elemwise

from symrnn.compiling.modes import QUICK
from symrnn.nn.cells import LSTMCell
from symrnn.nn.layers import LayerNorm
from symrnn.nn.recurrent import unroll


def test_quick_mode_compiles_nothing_and_equals_fast_compile(monkeypatch):
    x, cell = pt.tensor3("x"), LSTMCell(2, 3, rng=np.random.default_rng(0))
    loss = (unroll(cell, x)[0] ** 2).mean()
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


x = pt.matrix("x")
SUMS = pt.exp(x).sum(axis=1)
WITH_A_GRAPH_INSIDE = {
    "softmax": pt.special.softmax(x, axis=1),
    "written as quotient": pt.exp(x) / SUMS[:, None],
    "log_softmax": pt.special.log_softmax(x, axis=1),
    "both": pt.special.log_softmax(x, axis=1) * pt.special.softmax(x, axis=1),
    "logsumexp": pt.logsumexp(x, axis=1),
    "written as logarithm": pt.log(SUMS),
    "sum of two": pt.log(pt.exp(x) + pt.exp(2 * x)),
    "xlogy": pt.special.xlogy(x, x**2),
    "in a graph of its own": OpFromGraph([x], [pt.special.softmax(pt.sigmoid(x), axis=1)])(x),
}


@pytest.mark.parametrize("y", WITH_A_GRAPH_INSIDE.values(), ids=WITH_A_GRAPH_INSIDE)
def test_quick_mode_inlines_graphs_within_a_node(y):
    results = [y, pytensor.grad((y**2).sum(), x)]
    quick = pytensor.function([x], results, mode=QUICK)
    nodes = quick.maker.fgraph.toposort()
    assert not [n for n in nodes if isinstance(n.op, OpFromGraph)]  # those get compiled
    assert not [n for n in nodes if "igmoid" in str(n.op) or "Second" in str(n.op)]
    value = np.random.default_rng(1).normal(size=(4, 5))
    expected = pytensor.function([x], results, mode="FAST_COMPILE")(value)
    for got, e in zip(quick(value), expected, strict=True):
        np.testing.assert_allclose(got, e, rtol=0, atol=1e-12)


def test_quick_mode_computes_what_a_softmax_and_its_logarithm_share_once():
    y = WITH_A_GRAPH_INSIDE["both"]
    names = [str(n.op) for n in pytensor.function([x], y, mode=QUICK).maker.fgraph.toposort()]
    assert sum(name.startswith("Max") for name in names) == 1, names
    assert sum(len(re.findall(r"\bexp\b", name.lower())) for name in names) == 1, names


def test_quick_mode_has_a_softplus_of_whole_arrays():
    x = pt.vector("x")
    f = pytensor.function([x], pt.softplus(x), mode=QUICK)
    names = [str(node.op) for node in f.maker.fgraph.toposort()]
    assert not any("oftplus" in name for name in names), names
    given = np.array([-800.0, -30.0, -1e-9, 0.0, 2.0, 30.0, 800.0])
    np.testing.assert_allclose(f(given), np.logaddexp(0, given), rtol=1e-14)


def test_quick_mode_multiplies_two_arrays_at_a_time_and_equals_fast_compile():
    x, norm = pt.matrix("x"), LayerNorm(5)
    gradient = pytensor.grad((norm(x) ** 3).sum(), x)
    functions = [pytensor.function([x], gradient, mode=mode) for mode in ("FAST_COMPILE", QUICK)]
    value = np.random.default_rng(0).normal(size=(4, 5))
    np.testing.assert_allclose(*(f(value) for f in functions), rtol=0, atol=1e-12)
    most = [
        max(len(n.inputs) for n in f.maker.fgraph.apply_nodes if isinstance(n.op, Elemwise))
        for f in functions
    ]
    assert most[0] > most[1] == 2
