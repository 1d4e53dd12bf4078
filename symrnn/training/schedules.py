"""Learning rates that change: each is the graph of a step counter, and the rate of any rule.

>>> import numpy as np, pytensor
>>> from symrnn.training.optimizers import gradient_descent
>>> w = pytensor.shared(np.array(5.0), name="w")
>>> t = step_counter()
>>> rate = exponential(t, 0.1, factor=0.5, every=10)
>>> updates = gradient_descent(w**2, [w], rate) | advance(t)
>>> step = pytensor.function([], rate, updates=updates, mode="FAST_COMPILE")
>>> [round(float(step()), 4) for _ in range(3)]
[0.1, 0.0933, 0.0871]

The counter holds the number of steps done, 0 in the first call. It is an ordinary shared variable:
save it, set it back, or let several schedules share one. In the equations t is the counter and
eta_0 the first rate. Every schedule raises ValueError where a number is out of its range.
"""

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_positive


def step_counter(start: int = 0, name: str = "t") -> SharedVariable:
    """Make the shared int64 scalar that schedules count steps with."""
    return pytensor.shared(np.array(start, dtype="int64"), name=name)


def advance(t: SharedVariable) -> dict[SharedVariable, TensorVariable]:
    """Return the update that counts one step; merge it with a rule's: ``rule | advance(t)``."""
    return {t: t + 1}


def constant(t: Any, rate: float) -> TensorVariable:
    """``eta_t = eta_0``; `t` is not used."""
    check_positive("rate", rate)
    return pt.constant(np.asarray(rate, dtype=pytensor.config.floatX))


def step_decay(t: Any, rate: float, factor: float, every: int) -> TensorVariable:
    """``eta_t = eta_0 factor^floor(t / every)``.

    Parameters
    ----------
    t
        Step counter, an integer scalar variable.
    rate
        eta_0, positive.
    factor
        What the rate is multiplied with, positive.
    every
        After how many steps, each time; at least 1.
    """
    return _power(rate, factor, pt.floor(_float(t) / _count("every", every)))


def exponential(t: Any, rate: float, factor: float, every: int = 1) -> TensorVariable:
    """``eta_t = eta_0 factor^(t / every)``: like `step_decay`, but smooth.

    Parameters as in `step_decay`.
    """
    return _power(rate, factor, _float(t) / _count("every", every))


def natural_exponential(t: Any, rate: float, decay: float, every: int = 1) -> TensorVariable:
    """``eta_t = eta_0 exp(-decay t / every)``.

    Parameters
    ----------
    t
        Step counter, an integer scalar variable.
    rate
        eta_0, positive.
    decay
        Positive; 1 means that the rate falls to 1/e of itself every `every` steps.
    every
        Number of steps, at least 1.
    """
    check_positive("rate", rate)
    check_positive("decay", decay)
    return rate * pt.exp(-decay * _float(t) / _count("every", every))


def inverse_time(t: Any, rate: float, decay: float, every: int = 1) -> TensorVariable:
    """``eta_t = eta_0 / (1 + decay t / every)``.

    Parameters
    ----------
    t
        Step counter, an integer scalar variable.
    rate
        eta_0, positive.
    decay
        Positive; 1 means that the rate is halved after `every` steps.
    every
        Number of steps, at least 1.
    """
    check_positive("rate", rate)
    check_positive("decay", decay)
    return rate / (1 + decay * _float(t) / _count("every", every))


def cosine(t: Any, rate: float, n_steps: int, last_rate: float = 0.0) -> TensorVariable:
    """Half a cosine wave from the first rate down to the last (Loshchilov and Hutter, 2017).

    ``eta_t = eta_n + (eta_0 - eta_n) (1 + cos(pi t / n)) / 2`` for ``t <= n``, then ``eta_n``

    Parameters
    ----------
    t
        Step counter, an integer scalar variable.
    rate
        eta_0, positive.
    n_steps
        n, at least 1.
    last_rate
        eta_n, at least 0 and not above `rate`.
    """
    check_positive("rate", rate)
    check_positive("last_rate", last_rate, or_zero=True)
    if last_rate > rate:
        raise ValueError(f"last_rate is {last_rate}, but must be between 0 and rate, {rate}")
    done = pt.minimum(_float(t) / _count("n_steps", n_steps), 1.0)
    return last_rate + (rate - last_rate) * (1 + pt.cos(np.pi * done)) / 2


def linear_to_zero(t: Any, rate: float, n_steps: int, n_last: int) -> TensorVariable:
    """Keep the rate, and let it fall to 0 in a straight line over the last steps.

    ``eta_t = eta_0 min(1, (n - t) / m)`` for ``t <= n``, then 0. With `warm_up` before it, this is
    known as warm-up, stable, decay (Hu et al., 2024).

    Parameters
    ----------
    t
        Step counter, an integer scalar variable.
    rate
        eta_0, positive.
    n_steps, n_last
        n and m, how many steps there are in all, and in how many of them the rate falls: at least
        1, and m not above n.
    """
    check_positive("rate", rate)
    n, m = _count("n_steps", n_steps), _count("n_last", n_last)
    if m > n:
        raise ValueError(f"n_last is {n_last}, but there are only {n_steps} steps in all")
    return rate * pt.clip((n - _float(t)) / m, 0.0, 1.0)


def warm_up(t: Any, rate: Any, n_steps: int) -> TensorVariable:
    """Let a rate grow in a straight line over the first steps (Goyal et al., 2017).

    ``eta_t min(1, (t + 1) / n)``

    Parameters
    ----------
    t
        Step counter, an integer scalar variable.
    rate
        A positive number, or the graph of any other schedule.
    n_steps
        n, at least 1: the step in which the full rate is reached.
    """
    if not isinstance(rate, Variable):
        check_positive("rate", rate)
    return rate * pt.minimum((_float(t) + 1) / _count("n_steps", n_steps), 1.0)


def _power(rate: float, factor: float, exponent: TensorVariable) -> TensorVariable:
    check_positive("rate", rate)
    check_positive("factor", factor)
    return rate * pt.exp(float(np.log(factor)) * exponent)


def _float(t: Any) -> TensorVariable:
    """The counter as a float; refused if it is no integer scalar."""
    t = pt.as_tensor_variable(t)
    if t.ndim or "int" not in t.dtype:
        raise ValueError(
            f"the step counter has {t.ndim} axes and dtype {t.dtype}, but must be one integer: "
            "make it with step_counter()"
        )
    return t.astype(pytensor.config.floatX)


def _count(name: str, value: int) -> float:
    check_positive(name, value)
    if value < 1:
        raise ValueError(f"{name} is {value}, but must be at least 1")
    return float(value)
