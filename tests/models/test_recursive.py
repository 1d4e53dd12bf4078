import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.gradient import verify_grad
from pytensor.graph.replace import graph_replace

from symrnn.compiling.modes import QUICK
from symrnn.models.recursive import RecursiveNet, TreeCell, TreeLSTMCell
from symrnn.tasks.expressions import SYMBOLS, expressions, parse, schedule
from symrnn.training.optimizers import adam

TREES = [parse(text) for text in ("1+2*3", "7", "(1-2)*(3+4)", "4*4")]
N_CLASSES, N_HIDDEN = 3, 4


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_recursion(net, tree):
    """The state of a tree, a function that calls itself on both sides."""
    E, U, b = (w.get_value() for w in net.cell.params)
    if tree.left is None:
        left = right = [np.zeros(N_HIDDEN)] * len(net.cell.State._fields)
    else:
        left, right = by_recursion(net, tree.left), by_recursion(net, tree.right)
    z = E[SYMBOLS.index(tree.symbol)] + np.concatenate([left[0], right[0]]) @ U + b
    if isinstance(net.cell, TreeLSTMCell):
        i, f_l, f_r, g, o = np.split(z, 5)
        c = sigmoid(i) * np.tanh(g) + sigmoid(f_l) * left[1] + sigmoid(f_r) * right[1]
        return sigmoid(o) * np.tanh(c), c
    return (np.tanh(z),)


@pytest.fixture(scope="module", params=[TreeCell, TreeLSTMCell])
def net(request):
    return RecursiveNet(
        len(SYMBOLS), N_CLASSES, N_HIDDEN, rng=np.random.default_rng(1), cell=request.param
    )


@pytest.fixture(scope="module")
def logits(net):
    inputs = pt.lmatrix("symbols"), pt.ltensor3("children"), pt.lvector("roots")
    return pytensor.function(inputs, net.logits(*inputs), mode=QUICK)


def test_the_scan_is_the_recursion(net, logits):
    W, b = (w.get_value() for w in net.output.params)
    trees = TREES + expressions(10, rng=np.random.default_rng(2), depths=(0, 4))
    expected = [by_recursion(net, tree)[0] @ W + b for tree in trees]
    np.testing.assert_allclose(logits(*schedule(trees)), expected, rtol=0, atol=1e-12)


def test_each_tree_of_a_batch_is_the_tree_alone(logits):
    together = logits(*schedule(TREES))
    alone = np.concatenate([logits(*schedule([tree])) for tree in TREES])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-13)


def test_all_nodes_are_classified_like_the_trees_below_them(net, logits):
    p = net.compile_nodes()(*schedule(TREES)[:2])
    tree = TREES[0]
    z = logits(*schedule(list(tree.nodes())))
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p[: len(expected), 0], expected, atol=1e-12)


@pytest.mark.parametrize("cell", [TreeCell, TreeLSTMCell])
def test_the_gradient_is_that_of_finite_differences(cell):
    net = RecursiveNet(len(SYMBOLS), 2, 2, rng=np.random.default_rng(1), cell=cell)
    plan, target = schedule([parse("1+2*1"), parse("0")]), np.array([0, 1])

    def loss(*weights):
        made = net.loss(*plan, target)
        return graph_replace(made, dict(zip(net.params, weights, strict=True)))

    values = [w.get_value() for w in net.params]
    verify_grad(loss, values, rng=np.random.default_rng(3), mode=QUICK)


def test_the_loss_at_every_node_is_that_of_all_trees_within_the_trees(net):
    nodes = [node for tree in TREES for node in tree.nodes()]
    classes = {node: k % N_CLASSES for k, node in enumerate(nodes)}
    plan = schedule(TREES)
    target = np.zeros(plan.symbols.shape, dtype=int)
    for k, tree in enumerate(TREES):
        target[: plan.roots[k], k] = [classes[node] for node in tree.nodes()]
    losses = [
        net.loss(*plan, target, every_node=True),
        net.loss(*schedule(nodes), np.array([classes[node] for node in nodes])),
    ]
    together, apart = pytensor.function([], losses, mode=QUICK)()
    assert together == pytest.approx(apart, abs=1e-12)


def test_what_stands_in_the_padding_has_no_influence(logits):
    plan = schedule(TREES)
    other = plan.symbols.copy()
    other[~plan.mask] = 5
    np.testing.assert_array_equal(logits(*plan), logits(*plan._replace(symbols=other)))


def test_the_order_of_the_sides_matters(logits):
    a, b = logits(*schedule([parse("1-2"), parse("2-1")]))
    assert abs(a - b).max() > 1e-3


def test_float32_stays_float32():
    with pytensor.config.change_flags(floatX="float32"):
        net = RecursiveNet(len(SYMBOLS), 2, 3, rng=np.random.default_rng(1), cell=TreeCell)
        step = net.compile_training(lambda loss, params: adam(loss, params, 0.01))
        loss = step(*schedule(TREES), np.array([0, 1, 1, 0]))
    assert loss.dtype == np.float32
    assert {w.get_value().dtype for w in net.params} == {np.dtype("float32")}


@pytest.mark.slow
def test_numba_computes_the_same():
    net = RecursiveNet(len(SYMBOLS), 2, 3, rng=np.random.default_rng(1), cell=TreeCell)
    inputs = pt.lmatrix("symbols"), pt.ltensor3("children"), pt.lvector("roots")
    z = net.logits(*inputs)
    grads = pytensor.grad((z**2).sum(), net.params)
    quick, fast = (pytensor.function(inputs, [z, *grads], mode=m) for m in (QUICK, "NUMBA"))
    for a, b in zip(quick(*schedule(TREES)), fast(*schedule(TREES)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_what_is_no_schedule_is_refused(net, logits):
    plan = schedule(TREES)
    for change, message in (
        ({"symbols": plan.symbols + 13}, "a symbol is below 0, or not below the n_symbols"),
        ({"children": plan.children + 2}, "children come before their parents"),
        ({"children": plan.children - 1}, "a child's row is below 0"),
        ({"children": plan.children[1:]}, "children must have shape .time, batch, 2."),
        ({"roots": plan.roots - 1}, "roots must have shape .batch,., each from 1 to time"),
        ({"roots": plan.roots + len(plan.symbols)}, "roots must have shape .batch,., each from 1"),
        ({"roots": plan.roots[:1]}, "roots must have shape .batch,."),
    ):
        with pytest.raises(ValueError, match=message):
            logits(*plan._replace(**change))
    with pytest.raises(TypeError, match="symbols has dtype float64, but must hold integers"):
        net.nodes(pt.dmatrix(), plan.children)
    with pytest.raises(ValueError, match="children has 2 axes, but must have 3"):
        net.nodes(plan.symbols, plan.children[:, :, 0])
    with pytest.raises(ValueError, match="n_hidden is 0"):
        RecursiveNet(13, 2, 0, rng=np.random.default_rng(1))
