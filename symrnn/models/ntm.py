"""The neural Turing machine: a recurrent net with a memory beside it, which it reads and writes."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.graph.basic import Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_whole
from symrnn.compiling.shapes import keep_broadcastable
from symrnn.nn.attention import masked_softmax
from symrnn.nn.cells import Cell, LSTMCell
from symrnn.nn.inputs import float_variable
from symrnn.nn.layers import Dense
from symrnn.training.losses import binary_cross_entropy
from symrnn.training.optimizers import Optimizer

TINY = 1e-6  # keeps quotients and logarithms finite


class Orders(NamedTuple):
    """What the controller tells the heads, each ``(..., heads, size)``; those that write first.

    Attributes
    ----------
    k
        Key, what to look for, ``(..., 2 n_heads, width)``; within (-1, 1).
    beta
        Strength of the key, ``(..., 2 n_heads, 1)``; positive.
    g
        Gate, ``(..., 2 n_heads, 1)``; 1 goes where the key fits, 0 stays.
    s
        How far to go from there, ``(..., 2 n_heads, n_shifts)``; a distribution.
    gamma
        Sharpening, ``(..., 2 n_heads, 1)``; above 1.
    e, a
        What to erase, within (0, 1), and what to add, within (-1, 1); for the heads that write
        alone, ``(..., n_heads, width)``.
    """

    k: TensorVariable
    beta: TensorVariable
    g: TensorVariable
    s: TensorVariable
    gamma: TensorVariable
    e: TensorVariable
    a: TensorVariable


class Trace(NamedTuple):
    """All that happens in a neural Turing machine, in all steps.

    Attributes
    ----------
    logits
        ``[h_t, r_t] W + b``, ``(time, batch, n_out)``.
    h
        The controller's outputs, ``(time, batch, n_hidden)``.
    write, read
        Weightings of the heads that write and that read, ``(time, batch, n_heads, n_slots)``.
    r
        What is read, ``(time, batch, n_heads, width)``.
    M
        The memory after each step, ``(time, batch, n_slots, width)``.
    orders
        What the heads are told.
    """

    logits: TensorVariable
    h: TensorVariable
    write: TensorVariable
    read: TensorVariable
    r: TensorVariable
    M: TensorVariable
    orders: Orders


class NeuralTuringMachine:
    """A controller with a memory (Graves et al., 2014).

    The memory M_t has slots i, each a vector; a head has a weighting w_t, which says how much of it
    is at each slot: positive, and 1 in all. At each step::

        h_t      = controller([x_t, r_{t-1}], h_{t-1})          an LSTM, or another cell
        k, beta, g, s, gamma = those of each head, from h_t W_heads + b_heads

        K(i)     = k . M_{t-1}(i) / (|k| |M_{t-1}(i)|)          how well each slot fits the key
        w_c(i)   = softmax(beta K)(i)                           where the content is
        w_g(i)   = g w_c(i) + (1 - g) w_{t-1}(i)                there, or where it was before
        w~(i)    = sum_j s(j) w_g(i - j)                        and so many slots on, in a circle
        w_t(i)   = w~(i)^gamma / sum_j w~(j)^gamma              sharper

        M_t(i)   = M_{t-1}(i) (1 - w_t(i) e) + w_t(i) a         each writing head
        r_t      = sum_i w_t(i) M_t(i)                          each reading head
        y_t      = [h_t, r_t] W + b                             logits

    with ``k = tanh``, ``beta = softplus``, ``g = sigmoid``, ``s = softmax``,
    ``gamma = 1 + softplus``, ``e = sigmoid`` and ``a = tanh`` of their part of what h_t gives. The
    state that goes from step to step are M, all w, and the controller's own. At the beginning all
    heads are at slot 0 and all slots hold `blank` (Collier and Beel, 2018, found a small constant
    best). So no weight depends on the number of slots: it may be another one at each use.

    To keep things finite, norms are ``sqrt(|v|^2 + 1e-6)`` and w~ is ``w~ + 1e-6`` in the power.

    Parameters
    ----------
    n_in, n_out
        Features of x_t and of y_t.
    n_hidden
        Units of the controller.
    rng
        Source of the initial weights.
    n_slots, width
        Size of the memory: how many slots, and how long each one is.
    n_heads
        How many heads write, and how many read. All erase before one adds.
    cell
        Makes the controller: a class such as `symrnn.nn.cells.ElmanCell`, or any function
        ``(n_in, n_hidden, rng, name=...) -> cell``.
    shifts
        Which steps a head can make, different whole numbers.
    blank
        What the memory holds at first.

    Attributes
    ----------
    params
        All weights, in order.
    controller, heads, output
        The parts that have them.

    Raises
    ------
    ValueError
        If a size is below 1, the shifts are none or not different whole numbers, `blank` is not
        finite, or the cell is wrapped or sees more than the sum z, as a `GRUCell` does.

    Examples
    --------
    >>> from symrnn.compiling.modes import QUICK
    >>> model = NeuralTuringMachine(2, 1, 8, np.random.default_rng(1), n_slots=4, width=3)
    >>> x = pt.tensor3("x")  # (time, batch, features)
    >>> trace = model.run(x)
    >>> f = pytensor.function([x], [trace.logits, trace.read[-1]], mode=QUICK)
    >>> logits, w = f(np.ones((5, 3, 2), dtype=x.dtype))
    >>> logits.shape, w.shape, bool(np.allclose(w.sum(axis=2), 1))
    ((5, 3, 1), (3, 1, 4), True)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        n_hidden: int,
        rng: Generator,
        n_slots: int = 64,
        width: int = 16,
        n_heads: int = 1,
        cell: Callable[..., Cell] = LSTMCell,
        shifts: Sequence[int] = (-1, 0, 1),
        blank: float = 1e-6,
    ) -> None:
        sizes = {"n_in": n_in, "n_slots": n_slots, "width": width, "n_heads": n_heads}
        for name, size in sizes.items():
            check_whole(name, size)
        whole = all(isinstance(by, Integral) for by in shifts)
        if not whole or len(shifts) == 0 or len({*shifts}) < len(shifts):
            raise ValueError(f"shifts is {shifts}, but must be different whole numbers: (-1, 0, 1)")
        if not np.isfinite(blank):
            raise ValueError(f"blank is {blank}, but must be a finite number, such as 1e-6")
        self.n_in, self.n_slots, self.width, self.n_heads = n_in, n_slots, width, n_heads
        self.shifts, self.blank = tuple(map(int, shifts)), blank
        self.controller = cell(n_in + n_heads * width, n_hidden, rng, name="controller")
        if not isinstance(self.controller, Cell) or not self.controller.additive:
            raise ValueError(
                f"{type(self.controller).__name__} cannot be the controller, for the machine "
                "computes the sum z of what comes in, what was read and the last output by itself: "
                "take a cell that sees this sum alone, such as LSTMCell and ElmanCell, unwrapped"
            )
        self.addressing = [width, 1, 1, len(self.shifts), 1]  # k, beta, g, s, gamma of one head
        per_pair = 2 * sum(self.addressing) + 2 * width
        self.heads = Dense(n_hidden, n_heads * per_pair, rng=rng)
        self.output = Dense(n_hidden + n_heads * width, n_out, rng=rng)
        self.params = [*self.controller.params, *self.heads.params, *self.output.params]

    def orders(self, z: TensorVariable) -> Orders:
        """Return what ``z = h W_heads + b_heads``, shape ``(..., n)``, means for the heads."""
        leading, n_heads = tuple(z.shape)[:-1], 2 * self.n_heads
        n = n_heads * sum(self.addressing)
        of_heads = z[..., :n].reshape((*leading, n_heads, sum(self.addressing)))
        e_a = z[..., n:].reshape((*leading, n_heads, self.width))
        ends = np.cumsum([0, *self.addressing]).tolist()
        k, beta, g, s, gamma = (of_heads[..., start:end] for start, end in pairwise(ends))
        return Orders(
            k=pt.tanh(k),
            beta=pt.softplus(beta),
            g=pt.sigmoid(g),
            s=masked_softmax(s),
            gamma=1 + pt.softplus(gamma),
            e=pt.sigmoid(e_a[..., : self.n_heads, :]),
            a=pt.tanh(e_a[..., self.n_heads :, :]),
        )

    def address(self, orders: Orders, w: TensorVariable, M: TensorVariable) -> TensorVariable:
        """Return the new weightings of all heads, ``(batch, 2 n_heads, n_slots)``."""
        k, beta, g, s, gamma, *_ = orders
        K = pt.matmul(_unit(k), _unit(M).transpose(0, 2, 1))
        w_c = masked_softmax(beta * K)
        w_g = g * w_c + (1 - g) * w
        w_s = sum(s[:, :, [j]] * pt.roll(w_g, by, axis=2) for j, by in enumerate(self.shifts))
        tiny = np.asarray(TINY, dtype=w_s.dtype)
        return masked_softmax(gamma * pt.log(w_s + tiny))  # the power, over its sum

    def write(self, orders: Orders, w: TensorVariable, M: TensorVariable) -> TensorVariable:
        """Return the memory after all writing heads, whose weightings are w, have written."""
        heads = range(self.n_heads)
        for j in heads:
            M = M * (1 - w[:, j, :, None] * orders.e[:, j, None, :])
        for j in heads:
            M = M + w[:, j, :, None] * orders.a[:, j, None, :]
        return M

    def run(self, x: Any, n_slots: Any = None) -> Trace:
        """Run over a batch of sequences.

        Parameters
        ----------
        x
            Input, shape ``(time, batch, n_in)``, a float dtype.
        n_slots
            How many slots the memory shall have, a number or a variable. Default: those that the
            model was made with.

        Raises
        ------
        TypeError, ValueError
            If x is not of a float dtype, or has other axes or features, or no step; if `n_slots` is
            below 1.
        """
        x, cell, n_heads = self._checked(x), self.controller, self.n_heads
        time, batch, _ = x.shape
        n_slots, dtype = self._slots(n_slots), self.output.W.dtype
        start = cell.initial_state(batch)
        M_0 = pt.full((batch, n_slots, self.width), np.asarray(self.blank, dtype))
        w_0 = pt.zeros((batch, 2 * n_heads, n_slots), dtype=dtype)
        w_0 = pt.set_subtensor(w_0[:, :, 0], np.asarray(1, dtype))
        zx = x.reshape((time * batch, self.n_in)) @ cell.W_x[: self.n_in]
        if cell.b is not None:
            zx = zx + cell.b
        W_rh = pt.concatenate([cell.W_x[self.n_in :], cell.W_h])  # for [r h] as one product

        def step(
            zx_t: TensorVariable, M: TensorVariable, w: TensorVariable, *rest: TensorVariable
        ) -> list[TensorVariable]:
            *state, W_rh, W_heads, b_heads = rest
            r = self._read(w, M).reshape((zx_t.shape[0], n_heads * self.width))
            z = zx_t + pt.concatenate([r, state[0]], axis=1) @ W_rh
            gates = (z[:, j * n : (j + 1) * n] for j in range(cell.n_gates))
            new_state = cell.step(tuple(gates), *state)
            orders = self.orders(new_state[0] @ W_heads + b_heads)
            new_w = self.address(orders, w, M)
            new = [self.write(orders, new_w, M), new_w, *new_state]
            old = [M, w, *state]  # said to keep their shapes, so that gradients are built faster
            return [
                keep_broadcastable(a, b.reshape(a.shape, ndim=a.ndim))
                for a, b in zip(old, new, strict=True)
            ]

        n = cell.n_hidden
        M, w, h, *_ = pytensor.scan(
            step,
            sequences=[zx.reshape((time, batch, zx.shape[1]))],
            outputs_info=[M_0, w_0, *start],
            non_sequences=[W_rh, self.heads.W, self.heads.b],
            strict=False,  # a cell's own weights, such as peepholes, are found in its step
            return_list=True,
            return_updates=False,
            name="NTM",
        )
        r = self._read(w, M)
        logits = self.output(pt.concatenate([h, r.reshape((time, batch, -1))], axis=2))
        return Trace(
            logits, h, w[:, :, :n_heads], w[:, :, n_heads:], r, M, self.orders(self.heads(h))
        )

    def _read(self, w: TensorVariable, M: TensorVariable) -> TensorVariable:
        """What the reading heads see, ``(..., n_heads, width)``."""
        return pt.matmul(w[..., self.n_heads :, :], M)

    def _slots(self, n_slots: Any) -> Any:
        if n_slots is None:
            return self.n_slots
        if not isinstance(n_slots, Variable):
            check_whole("n_slots", n_slots)
            return n_slots
        positive = CheckAndRaise(ValueError, "n_slots is below 1: the memory needs a slot")
        return positive(n_slots, pt.gt(n_slots, 0))

    def _checked(self, x: Any) -> TensorVariable:
        x = float_variable(x)
        if x.ndim != 3 or x.type.shape[2] not in (None, self.n_in):
            raise ValueError(
                f"x has shape {x.type.shape}, but must be (time, batch, features) with "
                f"{self.n_in} features, as many as the machine has inputs"
            )
        fits = CheckAndRaise(
            ValueError,
            "x must have shape (time, batch, features), with at least one step and one sample, and "
            f"{self.n_in} features, as many as the machine has inputs",
        )
        time, batch, features = x.shape
        return fits(
            x.astype(self.output.W.dtype), pt.gt(time * batch, 0), pt.eq(features, self.n_in)
        )

    def loss(self, x: Any, t: Any, n_slots: Any = None) -> TensorVariable:
        """Return the mean binary cross-entropy of the answer, in nats (see `answer_loss`)."""
        return answer_loss(self.run(x, n_slots).logits, t)

    def compile_training(self, optimizer: Optimizer, mode: Any = None) -> Any:
        """Compile ``(x, t) -> loss``, a step of training; the loss is that before the update."""
        x, t = pt.tensor3("x"), pt.tensor3("t")
        loss = self.loss(x, t)
        return pytensor.function([x, t], loss, updates=optimizer(loss, self.params), mode=mode)

    def compile_test(self, mode: Any = None, n_slots: Any = None) -> Any:
        """Compile ``(x, t) -> [loss, wrong]``, of an own number of slots if wanted."""
        x, t = pt.tensor3("x"), pt.tensor3("t")
        logits = self.run(x, n_slots).logits
        return pytensor.function([x, t], [answer_loss(logits, t), wrong_bits(logits, t)], mode=mode)

    def compile_trace(self, mode: Any = None, n_slots: Any = None) -> Any:
        """Compile ``x -> [p, write, read, r, M]``: the probabilities of ones, and as in `Trace`.

        For `symrnn.plots.memory_use`, which draws one sequence and one head: ``p[:, 0]``,
        ``write[:, 0, 0]`` and ``read[:, 0, 0]``.
        """
        x = pt.tensor3("x")
        trace = self.run(x, n_slots)
        p = pt.sigmoid(trace.logits)
        return pytensor.function([x], [p, trace.write, trace.read, trace.r, trace.M], mode=mode)


def answer_loss(logits: Any, t: Any) -> TensorVariable:
    """Mean binary cross-entropy of an answer of bits that is given in the last steps.

    Parameters
    ----------
    logits
        Of all steps, shape ``(time, batch, n_out)``.
    t
        The answer, shape ``(steps, batch, n_out)``, each 0 or 1: what should come in the last
        steps. What the net says before is of no matter.

    Raises
    ------
    ValueError
        If the answer has another shape, more steps than the logits, or none.
    """
    loss = binary_cross_entropy(*_said_and_due(logits, t))
    loss.name = "loss"
    return loss


def wrong_bits(logits: Any, t: Any) -> TensorVariable:
    """Which share of an answer's bits is wrong, if each takes its likelier value.

    Guessing gives 1/2; a logit that is NaN is wrong. Parameters and errors as in `answer_loss`.
    """
    z, t = _said_and_due(logits, t)
    right = pt.switch(pt.gt(t, 0.5), pt.gt(z, 0), pt.le(z, 0))
    return 1 - right.mean()


def _said_and_due(logits: Any, t: Any) -> tuple[TensorVariable, TensorVariable]:
    """The logits of the last steps, and the answer that is due in them."""
    z, t = pt.as_tensor_variable(logits), pt.as_tensor_variable(t)
    message = (
        "the answer t must have shape (steps, batch, n_out) with the batch and n_out of the "
        "logits, (time, batch, n_out), and from 1 to time steps"
    )
    if z.ndim != 3 or t.ndim != 3:
        raise ValueError(f"{message}; they have {t.ndim} and {z.ndim} axes")
    steps = t.shape[0]
    same = [pt.eq(t.shape[k], z.shape[k]) for k in (1, 2)]
    t = CheckAndRaise(ValueError, message)(t, *same, pt.ge(steps, 1), pt.le(steps, z.shape[0]))
    return z[-steps:], t


def _unit(v: TensorVariable) -> TensorVariable:
    """Vectors along the last axis, divided by their norm."""
    tiny = np.asarray(TINY, dtype=v.dtype)
    return v / pt.sqrt((v**2).sum(axis=-1, keepdims=True) + tiny)
