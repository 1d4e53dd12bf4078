"""Recursive nets: a net over trees, as a scan over their nodes in post-order."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_sizes
from symrnn.compiling.function import function
from symrnn.compiling.shapes import keep_broadcastable
from symrnn.nn.cells import Gates, HiddenState, LSTMState
from symrnn.nn.initializers import Random, uniform, xavier_uniform
from symrnn.nn.layers import Dense
from symrnn.nn.module import Module, parameter
from symrnn.training.losses import categorical_cross_entropy
from symrnn.training.optimizers import Optimizer


class TreeCell(Module):
    """A step of a recursive net, at one node of a tree (Socher et al., 2011).

    ``h = tanh(E[x] + [h_l h_r] U + b)``

    x is the symbol at the node, and ``h_l``, ``h_r`` are those of its children: zeros at a leaf. E
    has the shape ``(n_symbols, n_gates * n_hidden)``, U ``(2 * n_hidden, n_gates * n_hidden)``.

    Parameters
    ----------
    n_symbols, n_hidden
        How many symbols there are, and the size of h.
    rng
        Source of the initial weights.

    Examples
    --------
    A cell of your own has a `step`, and `n_gates` and `State` where these differ:

    >>> class SumCell(TreeCell):
    ...     def step(self, z, left, right):
    ...         (z_h,) = z
    ...         return HiddenState(pt.tanh(z_h) + left.h + right.h)
    >>> SumCell(13, 5, rng=np.random.default_rng(1))
    SumCell: 120 weights
      E (13, 5)
      U (10, 5)
      b (5,)
    """

    n_gates: ClassVar[int] = 1
    State: Callable[..., Any] = HiddenState

    def __init__(self, n_symbols: int, n_hidden: int, *, rng: Random) -> None:
        check_sizes(n_symbols=n_symbols, n_hidden=n_hidden)
        self.n_symbols, self.n_hidden = n_symbols, n_hidden
        width = self.n_gates * n_hidden
        E = partial(uniform, low=-0.5, high=0.5)
        self.E = parameter("E", (n_symbols, width), E, rng=rng)

        def each_gate(r: Random, shape: Any) -> Any:
            one = (2 * n_hidden, n_hidden)
            return np.concatenate([xavier_uniform(r, one) for _ in range(self.n_gates)], axis=1)

        self.U = parameter("U", (2 * n_hidden, width), each_gate, rng=rng)
        self.b = parameter("b", (width,), np.zeros(width))

    def step(self, z: Gates, left: Any, right: Any) -> Any:
        """Return the state of a node from the sums z and the states of its children."""
        (z_h,) = z
        return HiddenState(pt.tanh(z_h))


class TreeLSTMCell(TreeCell):
    """The binary tree-structured LSTM (Tai et al., 2015, section 3.2).

    ::

        i   = sigmoid(E_i[x] + h_l U_il + h_r U_ir + b_i)       input gate
        f_l = sigmoid(E_l[x] + h_l U_ll + h_r U_lr + b_l)       forget gate of the left child
        f_r = sigmoid(E_r[x] + h_l U_rl + h_r U_rr + b_r)       forget gate of the right child
        g   = tanh(E_g[x] + h_l U_gl + h_r U_gr + b_g)          candidate
        o   = sigmoid(E_o[x] + h_l U_ol + h_r U_or + b_o)       output gate
        c   = i * g + f_l * c_l + f_r * c_r
        h   = o * tanh(c)

    with ``E = [E_i E_l E_r E_g E_o]`` and so on. (In the paper both forget gates share one E.) The
    biases of the forget gates start at 1, so that c of the children is kept at first.

    Parameters
    ----------
    n_symbols, n_hidden
        How many symbols there are, and the size of h and of c.
    rng
        Source of the initial weights.

    Examples
    --------
    >>> TreeLSTMCell(13, 5, rng=np.random.default_rng(1))
    TreeLSTMCell: 600 weights
      E (13, 25)
      U (10, 25)
      b (25,)
    """

    n_gates: ClassVar[int] = 5
    State = LSTMState

    def __init__(self, n_symbols: int, n_hidden: int, *, rng: Random) -> None:
        super().__init__(n_symbols, n_hidden, rng=rng)
        b = self.b.get_value()
        b[n_hidden : 3 * n_hidden] = 1
        self.b.set_value(b)

    def step(self, z: Gates, left: Any, right: Any) -> LSTMState:
        """Return the state of a node from the sums z and the states of its children."""
        i, f_l, f_r, o = (pt.sigmoid(z[k]) for k in (0, 1, 2, 4))
        c = i * pt.tanh(z[3]) + f_l * left.c + f_r * right.c
        return LSTMState(h=o * pt.tanh(c), c=c)


class RecursiveNet(Module):
    """A net over trees (Socher et al., 2011; Tai et al., 2015), with a classifier at the root.

    Node t of a tree has two children l(t) and r(t), which come before it in post-order, or none::

        state_t = cell(x_t, state_l(t), state_r(t))         t = 1 ... time
        p(class = i | tree) = softmax(h_root W + b)_i

    So it is a loop over nodes. An ordinary recurrent net needs only the last state, but here a step
    needs two earlier ones, from any steps before. So the scan carries a table with the states of
    all nodes: it writes row t in step t, and row 0 is zero, for the missing children of a leaf. A
    batch of trees has one table for each tree, and each has its own schedule
    (`symrnn.tasks.expressions.schedule`). For the backward pass the scan
    keeps the table of every step, so the time and the space that training takes grow with the
    square of the number of nodes: it is meant for trees of tens of nodes, not of thousands.

    Parameters
    ----------
    n_symbols, n_classes
        How many symbols can stand at a node, and how many classes there are.
    n_hidden
        Size of h.
    rng
        Source of the initial weights.
    cell
        Makes the cell: `TreeLSTMCell`, `TreeCell`, or a subclass of your own.

    Examples
    --------
    The larger of two digits, 0 or 1: 0+0 is 0, all others are 1.

    >>> from symrnn.tasks.expressions import SYMBOLS, parse, schedule
    >>> from symrnn.training.optimizers import adam
    >>> net = RecursiveNet(len(SYMBOLS), 2, 8, rng=np.random.default_rng(1))
    >>> step = net.compile_training(lambda loss, params: adam(loss, params, 0.03))
    >>> plan = schedule([parse(text) for text in ("0+0", "0+1", "1+0", "1+1")])
    >>> losses = [float(step(*plan, np.array([0, 1, 1, 1]))) for _ in range(40)]
    >>> losses[0] > 0.4, losses[-1] < 0.05
    (True, True)
    """

    def __init__(
        self,
        n_symbols: int,
        n_classes: int,
        n_hidden: int,
        *,
        rng: Generator,
        cell: Callable[..., TreeCell] = TreeLSTMCell,
    ) -> None:
        self.cell = cell(n_symbols, n_hidden, rng=rng)
        self.output = Dense(n_hidden, n_classes, rng=rng)

    def nodes(self, symbols: Any, children: Any) -> Any:
        """Return the states of all nodes, a table of each array of the cell's state.

        Parameters
        ----------
        symbols
            The symbol at each node, shape ``(time, batch)``, integers.
        children
            The rows of its children, ``(time, batch, 2)``, integers: k is the node of step k - 1,
            0 is none.

        Returns
        -------
        state
            For example ``LSTMState(h, c)``, each ``(batch, time + 1, n_hidden)``.
        """
        cell, n = self.cell, self.cell.n_hidden
        symbols, children = _integers("symbols", symbols, 2), _integers("children", children, 3)
        children = _fits(symbols, children)
        time, batch = symbols.shape
        symbols = SYMBOL_EXISTS(
            symbols, pt.ge(symbols, 0).all(), pt.lt(symbols, cell.E.shape[0]).all()
        )
        x = cell.E[symbols.flatten()].reshape((time, batch, cell.E.shape[1])) + cell.b
        zeros = pt.zeros((batch, time + 1, n), dtype=x.dtype)

        def step(
            t: TensorVariable,
            x_t: TensorVariable,
            children_t: TensorVariable,
            *rest: TensorVariable,
        ) -> list[TensorVariable]:
            *tables, U = rest
            trees = pt.arange(x_t.shape[0])
            left, right = (
                cell.State(*(T[trees, children_t[:, side]] for T in tables)) for side in (0, 1)
            )
            z = x_t + pt.concatenate([left.h, right.h], axis=1) @ U
            gates = tuple(z[:, k * n : (k + 1) * n] for k in range(cell.n_gates))
            state = cell.step(gates, left, right)
            return [
                keep_broadcastable(T, pt.set_subtensor(T[:, t + 1], s))
                for T, s in zip(tables, state, strict=True)
            ]

        tables = pytensor.scan(
            step,
            sequences=[pt.arange(time), x, children],
            outputs_info=[zeros for _ in cell.State._fields],  # type: ignore[attr-defined]
            non_sequences=[cell.U],
            strict=True,
            return_list=True,
            return_updates=False,
            name=type(cell).__name__,
        )
        return cell.State(*(T[-1] for T in tables))

    def logits(self, symbols: Any, children: Any, roots: Any) -> TensorVariable:
        """Return h W + b at the roots, ``(batch, n_classes)``.

        Parameters
        ----------
        symbols, children
            The symbol at each node, ``(time, batch)``, and the rows of its children,
            ``(time, batch, 2)``; see `nodes`.
        roots
            The row of each root, ``(batch,)``, integers from 1: the tree's number of nodes.
        """
        h = self.nodes(symbols, children).h
        roots = _roots(roots, h.shape[1] - 1, h.shape[0])
        return self.output(h[pt.arange(h.shape[0]), roots])

    def node_logits(self, symbols: Any, children: Any) -> TensorVariable:
        """Return h W + b at all nodes, ``(time, batch, n_classes)``.

        Parameters
        ----------
        symbols, children
            The symbol at each node, ``(time, batch)``, and the rows of its children,
            ``(time, batch, 2)``; see `nodes`.
        """
        return self.output(self.nodes(symbols, children).h[:, 1:].transpose(1, 0, 2))

    def loss(
        self, symbols: Any, children: Any, roots: Any, target: Any, *, every_node: bool = False
    ) -> TensorVariable:
        """Return the mean cross-entropy in nats.

        Parameters
        ----------
        symbols, children, roots
            The symbol at each node, ``(time, batch)``, the rows of its children,
            ``(time, batch, 2)``, and the row of each root, ``(batch,)``; see `nodes`.
        target
            The true classes: of the roots, ``(batch,)``; or of all nodes, ``(time, batch)``, as
            `symrnn.tasks.expressions.node_values` makes them.
        every_node
            True takes the mean over all nodes, each the root of a tree of its own, as in Socher et
            al. (2013), whose data has the sentiment of every phrase. Padding does not count.
        """
        if every_node:
            logits = self.node_logits(symbols, children)
            time, batch, _ = logits.shape
            valid = pt.arange(time)[:, None] < _roots(roots, time, batch)
            loss = categorical_cross_entropy(logits, target, mask=valid)
        else:
            loss = categorical_cross_entropy(self.logits(symbols, children, roots), target)
        loss.name = "loss"
        return loss

    def compile_training(
        self, optimizer: Optimizer, *, every_node: bool = False, mode: Any = None
    ) -> Any:
        """Compile ``(symbols, children, roots, target) -> loss``, a training step.

        Parameters
        ----------
        optimizer
            A function (loss, params) -> updates, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        every_node
            Whether the targets are classes of all nodes, see `loss`.
        mode
            Compilation mode, see `symrnn.function`.

        Returns
        -------
        function
            It returns the loss before the update.
        """
        target = pt.lmatrix("target") if every_node else pt.lvector("target")
        inputs = [*_schedule(), target]
        symbols, children, roots, _ = inputs
        loss = self.loss(symbols, children, roots, target, every_node=every_node)
        return function(inputs, loss, updates=optimizer(loss, self.params), mode=mode)

    def compile_classes(self, *, mode: Any = None) -> Any:
        """Compile ``(symbols, children, roots) -> classes``, the likeliest of each tree."""
        inputs = _schedule()
        return function(inputs, self.logits(*inputs).argmax(axis=1), mode=mode)

    def compile_nodes(self, *, mode: Any = None) -> Any:
        """Compile ``(symbols, children) -> p``, the probabilities of the classes at every node.

        Shape ``(time, batch, n_classes)``; every node is the root of a tree.
        """
        symbols, children, _ = _schedule()
        p = pt.special.softmax(self.node_logits(symbols, children), axis=-1)
        return function([symbols, children], p, mode=mode)


SYMBOL_EXISTS = CheckAndRaise(
    ValueError, "a symbol is below 0, or not below the n_symbols of the net"
)


def _schedule() -> list[TensorVariable]:
    return [pt.lmatrix("symbols"), pt.ltensor3("children"), pt.lvector("roots")]


def _integers(name: str, values: Any, ndim: int) -> TensorVariable:
    values = pt.as_tensor_variable(values)
    if "int" not in values.dtype:
        raise TypeError(f"{name} has dtype {values.dtype}, but must hold integers")
    if values.ndim != ndim:
        raise ValueError(
            f"{name} has {values.ndim} axes, but must have {ndim}: symbols (time, batch), "
            "children (time, batch, 2), roots (batch,), as schedule([tree, ...]) makes them"
        )
    return values


def _roots(roots: Any, time: TensorVariable, batch: TensorVariable) -> TensorVariable:
    """The roots, with a check of their number and range."""
    roots = _integers("roots", roots, 1)
    fits = CheckAndRaise(
        ValueError,
        "roots must have shape (batch,), each from 1 to time: how many nodes a tree has, as "
        "schedule counts them",
    )
    within = pt.ge(roots, 1).all(), pt.le(roots, time).all()
    return fits(roots, pt.eq(roots.shape[0], batch), *within)


def _fits(symbols: TensorVariable, children: TensorVariable) -> TensorVariable:
    """The children, with a check of their shape and order."""
    fits = CheckAndRaise(
        ValueError,
        "children must have shape (time, batch, 2), with the time and batch of symbols, at least 1",
    )
    time, batch = symbols.shape
    equal = [pt.eq(children.shape[k], size) for k, size in enumerate((time, batch, 2))]
    children = fits(children, *equal, pt.gt(time * batch, 0))
    before = CheckAndRaise(
        ValueError, "a child's row is below 0, or above t: children come before their parents"
    )
    steps = pt.arange(time)[:, None, None]
    return before(children, pt.ge(children, 0).all(), pt.le(children, steps).all())
