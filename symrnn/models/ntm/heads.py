"""The heads of a neural Turing machine: where they are, what they write and what they read."""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import NamedTuple

import numpy as np
import pytensor.tensor as pt
from numpy.random import Generator
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_sizes
from symrnn.nn.attention import masked_softmax
from symrnn.nn.layers import Dense

TINY = 1e-6  # keeps quotients and logarithms finite


class HeadParameters(NamedTuple):
    """What the controller emits for the heads; those that write come first, then those that read.

    Attributes
    ----------
    k
        Key, what to look for, ``(..., 2 n_heads, width)``; within (-1, 1).
    beta
        Strength of the key, ``(..., 2 n_heads, 1)``; positive.
    g
        Interpolation gate, ``(..., 2 n_heads, 1)``; 1 goes where the key fits, 0 stays.
    s
        Shift weighting, how far to go from there, ``(..., 2 n_heads, n_shifts)``; a distribution.
    gamma
        Sharpening, ``(..., 2 n_heads, 1)``; above 1.
    e, a
        Erase vector, within (0, 1), and add vector, within (-1, 1); only of the heads that write,
        ``(..., n_heads, width)``.
    """

    k: TensorVariable
    beta: TensorVariable
    g: TensorVariable
    s: TensorVariable
    gamma: TensorVariable
    e: TensorVariable
    a: TensorVariable


class Heads(Dense):
    """The heads of a `symrnn.NeuralTuringMachine`, whose equations it shows.

    The layer itself is the map ``h W_heads + b_heads`` from the controller's output to the numbers
    that `parameters_of` makes head parameters of. A weighting w says how much of a head is at each
    slot of the memory M.

    Parameters
    ----------
    n_hidden
        Hidden units of the controller.
    width
        Size of a slot.
    n_heads
        How many heads write, and how many read.
    rng
        Source of the initial weights.
    shifts
        Which steps a head can make, different whole numbers.

    Examples
    --------
    Heads at slot 0 of a memory that holds a 1 there read the 1:

    >>> heads = Heads(8, 3, n_heads=1, rng=np.random.default_rng(1))
    >>> w, M = np.zeros((1, 2, 4)), np.zeros((1, 4, 3))  # (batch, heads, slots), (batch, slots, 3)
    >>> w[:, :, 0], M[:, 0] = 1, 1
    >>> heads.read(pt.constant(w), pt.constant(M)).eval(mode="FAST_COMPILE")
    array([[[1., 1., 1.]]])
    """

    def __init__(
        self,
        n_hidden: int,
        width: int,
        *,
        n_heads: int,
        rng: Generator,
        shifts: Sequence[int] = (-1, 0, 1),
    ) -> None:
        check_sizes(width=width, n_heads=n_heads)
        whole = all(isinstance(by, Integral) for by in shifts)
        if not whole or len(shifts) == 0 or len({*shifts}) < len(shifts):
            raise ValueError(f"shifts is {shifts}, but must be different whole numbers: (-1, 0, 1)")
        self.n_heads, self.width, self.shifts = n_heads, width, tuple(map(int, shifts))
        self.sizes = [width, 1, 1, len(self.shifts), 1]  # k, beta, g, s, gamma of one head
        super().__init__(n_hidden, n_heads * 2 * (sum(self.sizes) + width), rng=rng)

    def parameters_of(self, z: TensorVariable) -> HeadParameters:
        """Return the head parameters that ``z = h W_heads + b_heads``, ``(..., n)``, stands for."""
        leading, n_heads = tuple(z.shape)[:-1], 2 * self.n_heads
        n = n_heads * sum(self.sizes)
        of_heads = z[..., :n].reshape((*leading, n_heads, sum(self.sizes)))
        e_a = z[..., n:].reshape((*leading, n_heads, self.width))
        ends = np.cumsum([0, *self.sizes]).tolist()
        k, beta, g, s, gamma = (of_heads[..., start:end] for start, end in pairwise(ends))
        return HeadParameters(
            k=pt.tanh(k),
            beta=pt.softplus(beta),
            g=pt.sigmoid(g),
            s=masked_softmax(s),
            gamma=1 + pt.softplus(gamma),
            e=pt.sigmoid(e_a[..., : self.n_heads, :]),
            a=pt.tanh(e_a[..., self.n_heads :, :]),
        )

    def address(
        self, parameters: HeadParameters, w: TensorVariable, M: TensorVariable
    ) -> TensorVariable:
        """Return the new weightings of all heads, ``(batch, 2 n_heads, n_slots)``."""
        k, beta, g, s, gamma, *_ = parameters
        K = pt.matmul(_unit(k), _unit(M).transpose(0, 2, 1))
        w_c = masked_softmax(beta * K)
        w_g = g * w_c + (1 - g) * w
        w_s = sum(s[:, :, [j]] * pt.roll(w_g, by, axis=2) for j, by in enumerate(self.shifts))
        tiny = np.asarray(TINY, dtype=w_s.dtype)
        return masked_softmax(gamma * pt.log(w_s + tiny))  # the power, over its sum

    def write(
        self, parameters: HeadParameters, w: TensorVariable, M: TensorVariable
    ) -> TensorVariable:
        """Return the memory after all writing heads, whose weightings are w, have written."""
        heads = range(self.n_heads)
        for j in heads:
            M = M * (1 - w[:, j, :, None] * parameters.e[:, j, None, :])
        for j in heads:
            M = M + w[:, j, :, None] * parameters.a[:, j, None, :]
        return M

    def read(self, w: TensorVariable, M: TensorVariable) -> TensorVariable:
        """Return what the reading heads read, ``(..., n_heads, width)``."""
        return pt.matmul(w[..., self.n_heads :, :], M)


def _unit(v: TensorVariable) -> TensorVariable:
    """Vectors along the last axis, divided by their norm."""
    tiny = np.asarray(TINY, dtype=v.dtype)
    return v / pt.sqrt((v**2).sum(axis=-1, keepdims=True) + tiny)
