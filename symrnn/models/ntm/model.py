"""The neural Turing machine: a recurrent net that reads and writes an external memory."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.graph.basic import Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_sizes, check_whole
from symrnn.compiling.function import function
from symrnn.compiling.shapes import keep_broadcastable
from symrnn.models.ntm.heads import HeadParameters, Heads
from symrnn.nn.cells import Cell, LSTMCell
from symrnn.nn.inputs import float_variable
from symrnn.nn.layers import Dense
from symrnn.nn.module import Module
from symrnn.training.losses import binary_cross_entropy
from symrnn.training.optimizers import Optimizer


class Trace(NamedTuple):
    """All that happens in a neural Turing machine, at all steps.

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
    parameters
        What the controller emits for the heads.
    """

    logits: TensorVariable
    h: TensorVariable
    write: TensorVariable
    read: TensorVariable
    r: TensorVariable
    M: TensorVariable
    parameters: HeadParameters


class NeuralTuringMachine(Module):
    """A controller with an external memory (Graves et al., 2014).

    The memory M_t has slots i, each a vector; a head has a weighting w_t, which says how much of it
    is at each slot: positive, with sum 1. At each step::

        h_t      = controller([x_t, r_{t-1}], h_{t-1})          an LSTM, or another cell
        k, beta, g, s, gamma = those of each head, from h_t W_heads + b_heads

        K(i)     = k . M_{t-1}(i) / (|k| |M_{t-1}(i)|)          how well each slot fits the key
        w_c(i)   = softmax(beta K)(i)                           content-based addressing
        w_g(i)   = g w_c(i) + (1 - g) w_{t-1}(i)                interpolation with the old weighting
        w~(i)    = sum_j s(j) w_g(i - j)                        shift, in a circle
        w_t(i)   = w~(i)^gamma / sum_j w~(j)^gamma              sharpening

        M_t(i)   = M_{t-1}(i) (1 - w_t(i) e) + w_t(i) a         each writing head
        r_t      = sum_i w_t(i) M_t(i)                          each reading head
        y_t      = [h_t, r_t] W + b                             logits

    with ``k = tanh``, ``beta = softplus``, ``g = sigmoid``, ``s = softmax``,
    ``gamma = 1 + softplus``, ``e = sigmoid`` and ``a = tanh`` of their part of ``h_t W_heads +
    b_heads``. The state that goes from step to step is M, all w, and the controller's. At the
    beginning all heads are at slot 0 and all slots hold `blank` (Collier and Beel, 2018, found a
    small constant best). So no weight depends on the number of slots, and it may differ at each
    use. For finite results, norms are ``sqrt(|v|^2 + 1e-6)`` and the power is of ``w~ + 1e-6``.

    Parameters
    ----------
    n_in, n_out
        Number of features of x_t and of y_t.
    n_hidden
        Hidden units of the controller.
    rng
        Source of the initial weights.
    n_slots, width
        Size of the memory: how many slots, and the size of each.
    n_heads
        How many heads write, and how many read. All erase before one adds.
    cell
        Makes the controller: a class such as `symrnn.ElmanCell`, or any function
        ``(n_in, n_hidden, *, rng) -> cell``. Its gates must see the sum
        ``z_t = x_t W_x + b + h_{t-1} W_h`` alone, which a `symrnn.GRUCell`'s do not.
    shifts
        Which steps a head can make, different whole numbers.
    blank
        What the memory holds at first.

    Attributes
    ----------
    controller, heads, output
        The parts that have weights.

    Examples
    --------
    >>> model = NeuralTuringMachine(2, 1, 8, rng=np.random.default_rng(1), n_slots=4, width=3)
    >>> x = pt.tensor3("x")  # (time, batch, features)
    >>> trace = model.run(x)
    >>> f = function([x], [trace.logits, trace.read[-1]])
    >>> logits, w = f(np.ones((5, 3, 2)))
    >>> logits.shape, w.shape, bool(np.allclose(w.sum(axis=2), 1))
    ((5, 3, 1), (3, 1, 4), True)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        n_hidden: int,
        *,
        rng: Generator,
        n_slots: int = 64,
        width: int = 16,
        n_heads: int = 1,
        cell: Callable[..., Cell] = LSTMCell,
        shifts: Sequence[int] = (-1, 0, 1),
        blank: float = 1e-6,
    ) -> None:
        check_sizes(n_in=n_in, n_slots=n_slots, width=width, n_heads=n_heads)
        if not np.isfinite(blank):
            raise ValueError(f"blank is {blank}, but must be a finite number, such as 1e-6")
        self.n_in, self.n_slots, self.blank = n_in, n_slots, blank
        self.controller = cell(n_in + n_heads * width, n_hidden, rng=rng)
        if not isinstance(self.controller, Cell) or not self.controller.additive:
            raise ValueError(
                f"{type(self.controller).__name__} cannot be the controller: the machine itself "
                "computes the sum z of the input, what was read and the last output; take a cell "
                "that sees this sum alone, such as LSTMCell and ElmanCell, unwrapped"
            )
        self.heads = Heads(n_hidden, width, n_heads=n_heads, rng=rng, shifts=shifts)
        self.output = Dense(n_hidden + n_heads * width, n_out, rng=rng)

    def run(self, x: Any, *, n_slots: Any = None) -> Trace:
        """Run over a batch of sequences.

        Parameters
        ----------
        x
            Input, shape ``(time, batch, n_in)``, a float dtype.
        n_slots
            Number of slots of the memory, a number or a variable. Default: that which the model was
            made with.
        """
        x, cell, heads = self._checked(x), self.controller, self.heads
        time, batch, _ = x.shape
        n_slots, dtype = self._slots(n_slots), self.output.W.dtype
        M_0 = pt.full((batch, n_slots, heads.width), np.asarray(self.blank, dtype))
        w_0 = pt.zeros((batch, 2 * heads.n_heads, n_slots), dtype=dtype)
        w_0 = pt.set_subtensor(w_0[:, :, 0], np.asarray(1, dtype))
        zx = x.reshape((time * batch, self.n_in)) @ cell.W_x[: self.n_in]
        if cell.b is not None:
            zx = zx + cell.b
        W_rh = pt.concatenate([cell.W_x[self.n_in :], cell.W_h])  # for [r h] as one product
        n = cell.n_hidden

        def step(
            zx_t: TensorVariable, M: TensorVariable, w: TensorVariable, *rest: TensorVariable
        ) -> list[TensorVariable]:
            *state, W_rh, W_heads, b_heads = rest
            r = heads.read(w, M).reshape((zx_t.shape[0], heads.n_heads * heads.width))
            z = zx_t + pt.concatenate([r, state[0]], axis=1) @ W_rh
            gates = tuple(z[:, j * n : (j + 1) * n] for j in range(cell.n_gates))
            new_state = cell.step(gates, *state)
            parameters = heads.parameters_of(new_state[0] @ W_heads + b_heads)
            new_w = heads.address(parameters, w, M)
            new = [heads.write(parameters, new_w, M), new_w, *new_state]
            old = [M, w, *state]  # new arrays take their shapes: gradients are built faster
            return [
                keep_broadcastable(a, b.reshape(a.shape, ndim=a.ndim))
                for a, b in zip(old, new, strict=True)
            ]

        M, w, h, *_ = pytensor.scan(
            step,
            sequences=[zx.reshape((time, batch, zx.shape[1]))],
            outputs_info=[M_0, w_0, *cell.initial_state(batch)],
            non_sequences=[W_rh, heads.W, heads.b],
            strict=False,  # a cell's own weights, such as peepholes, are found in its step
            return_list=True,
            return_updates=False,
            name="NTM",
        )
        r = heads.read(w, M)
        logits = self.output(pt.concatenate([h, r.reshape((time, batch, -1))], axis=2))
        write, read = w[:, :, : heads.n_heads], w[:, :, heads.n_heads :]
        return Trace(logits, h, write, read, r, M, heads.parameters_of(heads(h)))

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

    def loss(self, x: Any, t: Any, *, n_slots: Any = None) -> TensorVariable:
        """Return the mean binary cross-entropy of the answer t, in nats; see `answer_loss`."""
        return answer_loss(self.run(x, n_slots=n_slots).logits, t)

    def compile_training(self, optimizer: Optimizer, *, mode: Any = None) -> Any:
        """Compile ``(x, t) -> loss``, a training step; the loss is that before the update.

        Parameters
        ----------
        optimizer
            A function (loss, params) -> updates, for example
            ``lambda loss, params: adam(loss, params, 0.003)``.
        mode
            Compilation mode, see `symrnn.function`.
        """
        x, t = pt.tensor3("x"), pt.tensor3("t")
        loss = self.loss(x, t)
        return function([x, t], loss, updates=optimizer(loss, self.params), mode=mode)

    def compile_test(self, *, n_slots: Any = None, mode: Any = None) -> Any:
        """Compile ``(x, t) -> [loss, fraction of wrong bits]``, of any number of slots."""
        x, t = pt.tensor3("x"), pt.tensor3("t")
        logits = self.run(x, n_slots=n_slots).logits
        return function([x, t], [answer_loss(logits, t), wrong_bits(logits, t)], mode=mode)

    def compile_trace(self, *, n_slots: Any = None, mode: Any = None) -> Any:
        """Compile ``x -> [p, write, read, r, M]``: the probabilities of ones, and as in `Trace`.

        For `symrnn.plots.memory_use`, which draws one sequence and one head: ``p[:, 0]``,
        ``write[:, 0, 0]`` and ``read[:, 0, 0]``.
        """
        x = pt.tensor3("x")
        trace = self.run(x, n_slots=n_slots)
        p = pt.sigmoid(trace.logits)
        return function([x], [p, trace.write, trace.read, trace.r, trace.M], mode=mode)


def answer_loss(logits: Any, t: Any) -> TensorVariable:
    """Mean binary cross-entropy of an answer of bits that is given in the last steps, in nats.

    Parameters
    ----------
    logits
        Of all steps, shape ``(time, batch, n_out)``.
    t
        The answer, shape ``(steps, batch, n_out)``, each 0 or 1: the targets of the last steps.
        The outputs before do not count.

    Examples
    --------
    >>> logits = np.array([[[5.0]], [[0.0]]])  # (time, batch, n_out)
    >>> float(answer_loss(logits, [[[1.0]]]).eval(mode="FAST_COMPILE"))  # log 2
    0.6931471805599453
    """
    loss = binary_cross_entropy(*_output_and_target(logits, t))
    loss.name = "loss"
    return loss


def wrong_bits(logits: Any, t: Any) -> TensorVariable:
    """Fraction of an answer's bits that are wrong, if each output takes its likelier value.

    Guessing gives 1/2; a logit that is NaN is wrong.

    Parameters
    ----------
    logits
        Of all steps, shape ``(time, batch, n_out)``.
    t
        The answer, shape ``(steps, batch, n_out)``, each 0 or 1: the targets of the last steps.

    Examples
    --------
    >>> wrong_bits([[[5.0]], [[2.0]], [[-2.0]]], [[[1.0]], [[1.0]]]).eval(mode="FAST_COMPILE")
    array(0.5)
    """
    z, t = _output_and_target(logits, t)
    right = pt.switch(pt.gt(t, 0.5), pt.gt(z, 0), pt.le(z, 0))
    return 1 - right.mean()


def _output_and_target(logits: Any, t: Any) -> tuple[TensorVariable, TensorVariable]:
    """The logits of the last steps, and the answer, their target."""
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
