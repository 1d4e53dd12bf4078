"""Learning-rate schedules: the learning rate as a graph of a step counter, for any optimizer.

>>> import numpy as np, pytensor
>>> from symrnn.training.optimizers import gradient_descent
>>> w = pytensor.shared(np.array(5.0), name="w")
>>> t = step_counter()
>>> eta = exponential(t, 0.1, factor=0.5, every=10)
>>> updates = gradient_descent(w**2, [w], eta) | advance(t)
>>> step = pytensor.function([], eta, updates=updates, mode="FAST_COMPILE")
>>> [round(float(step()), 4) for _ in range(3)]
[0.1, 0.0933, 0.0871]

The counter holds the number of steps done, 0 in the first call. It is an ordinary shared variable:
save it, set it back, or let several schedules share one. In the equations t is the counter, eta_0
the learning rate that is given, and eta_t the one at step t.
"""

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_positive


def step_counter(start: int = 0, *, name: str = "t") -> SharedVariable:
    """Make the shared int64 scalar that schedules count steps with.

    Parameters
    ----------
    start
        Number of steps done.
    name
        Name of the variable.
    """
    return pytensor.shared(np.array(start, dtype="int64"), name=name)


def advance(t: SharedVariable) -> dict[SharedVariable, TensorVariable]:
    """Return the update that counts a step, for example ``adam(loss, params, eta) | advance(t)``.

    Parameters
    ----------
    t
        What `step_counter` returned.
    """
    return {t: t + 1}


def constant(t: Any, learning_rate: float) -> TensorVariable:
    """``eta_t = eta_0``.

    Parameters
    ----------
    t
        Not used: all schedules are called alike.
    learning_rate
        eta_0, positive.
    """
    check_positive("learning_rate", learning_rate)
    return pt.constant(np.asarray(learning_rate, dtype=pytensor.config.floatX))


def step_decay(t: Any, learning_rate: float, *, factor: float, every: int) -> TensorVariable:
    """``eta_t = eta_0 factor^floor(t / every)``.

    Parameters
    ----------
    t
        Step counter, an integer scalar.
    learning_rate
        eta_0, positive.
    factor
        What the learning rate is multiplied by, positive.
    every
        Number of steps from one multiplication to the next, at least 1.

    Examples
    --------
    >>> float(step_decay(25, 0.8, factor=0.5, every=10).eval(mode="FAST_COMPILE"))
    0.2
    """
    return _power(learning_rate, factor, pt.floor(_float(t) / _count("every", every)))


def exponential(t: Any, learning_rate: float, *, factor: float, every: int = 1) -> TensorVariable:
    """``eta_t = eta_0 factor^(t / every)``: `step_decay` without the steps.

    Parameters
    ----------
    t
        Step counter, an integer scalar.
    learning_rate
        eta_0, positive.
    factor
        What the learning rate is multiplied by in `every` steps, positive.
    every
        Number of steps, at least 1.

    Examples
    --------
    >>> round(float(exponential(25, 0.8, factor=0.5, every=10).eval(mode="FAST_COMPILE")), 3)
    0.141
    """
    return _power(learning_rate, factor, _float(t) / _count("every", every))


def natural_exponential(
    t: Any, learning_rate: float, *, decay: float, every: int = 1
) -> TensorVariable:
    """``eta_t = eta_0 exp(-decay t / every)``.

    Parameters
    ----------
    t
        Step counter, an integer scalar.
    learning_rate
        eta_0, positive.
    decay
        Positive; 1 means that the learning rate falls to 1/e of itself in `every` steps.
    every
        Number of steps, at least 1.

    Examples
    --------
    >>> round(float(natural_exponential(20, 0.8, decay=1, every=10).eval(mode="FAST_COMPILE")), 3)
    0.108
    """
    check_positive("learning_rate", learning_rate)
    check_positive("decay", decay)
    return learning_rate * pt.exp(-decay * _float(t) / _count("every", every))


def inverse_time(t: Any, learning_rate: float, *, decay: float, every: int = 1) -> TensorVariable:
    """``eta_t = eta_0 / (1 + decay t / every)``.

    Parameters
    ----------
    t
        Step counter, an integer scalar.
    learning_rate
        eta_0, positive.
    decay
        Positive; 1 means that the learning rate is halved after `every` steps.
    every
        Number of steps, at least 1.

    Examples
    --------
    >>> float(inverse_time(30, 0.8, decay=1, every=10).eval(mode="FAST_COMPILE"))
    0.2
    """
    check_positive("learning_rate", learning_rate)
    check_positive("decay", decay)
    return learning_rate / (1 + decay * _float(t) / _count("every", every))


def cosine(
    t: Any, learning_rate: float, *, n_steps: int, final_learning_rate: float = 0.0
) -> TensorVariable:
    """Cosine annealing: half a cosine wave, falling (Loshchilov and Hutter, 2017).

    ``eta_t = eta_n + (eta_0 - eta_n) (1 + cos(pi t / n)) / 2`` for ``t <= n``, then ``eta_n``

    Parameters
    ----------
    t
        Step counter, an integer scalar.
    learning_rate
        eta_0, positive.
    n_steps
        n, at least 1.
    final_learning_rate
        eta_n, from 0 to `learning_rate`.

    Examples
    --------
    >>> round(float(cosine(5, 0.8, n_steps=10).eval(mode="FAST_COMPILE")), 3)
    0.4
    """
    check_positive("learning_rate", learning_rate)
    check_positive("final_learning_rate", final_learning_rate, or_zero=True)
    if final_learning_rate > learning_rate:
        raise ValueError(
            f"final_learning_rate is {final_learning_rate}, but must be between 0 and "
            f"learning_rate, {learning_rate}"
        )
    done = pt.minimum(_float(t) / _count("n_steps", n_steps), 1.0)
    fallen = (learning_rate - final_learning_rate) * (1 + pt.cos(np.pi * done)) / 2
    return final_learning_rate + fallen


def linear_to_zero(t: Any, learning_rate: float, *, n_steps: int, n_last: int) -> TensorVariable:
    """Constant, then linear decay to 0 over the last steps.

    ``eta_t = eta_0 min(1, (n - t) / m)`` for ``t <= n``, then 0. Together with `warm_up` this is
    the schedule warm-up, stable, decay (Hu et al., 2024).

    Parameters
    ----------
    t
        Step counter, an integer scalar.
    learning_rate
        eta_0, positive.
    n_steps
        n, the number of all steps, at least 1.
    n_last
        m, the number of steps in which the learning rate falls, from 1 to n.

    Examples
    --------
    >>> schedule = [linear_to_zero(t, 0.8, n_steps=10, n_last=4) for t in (0, 5, 8, 10)]
    >>> [float(eta.eval(mode="FAST_COMPILE")) for eta in schedule]
    [0.8, 0.8, 0.4, 0.0]
    """
    check_positive("learning_rate", learning_rate)
    n, m = _count("n_steps", n_steps), _count("n_last", n_last)
    if m > n:
        raise ValueError(f"n_last is {n_last}, but there are only {n_steps} steps in all")
    return learning_rate * pt.clip((n - _float(t)) / m, 0.0, 1.0)


def warm_up(t: Any, learning_rate: Any, *, n_steps: int) -> TensorVariable:
    """Linear warm-up over the first steps, of any schedule (Goyal et al., 2017).

    ``eta_t min(1, (t + 1) / n)``

    Parameters
    ----------
    t
        Step counter, an integer scalar.
    learning_rate
        eta_t, a positive number or the graph of any other schedule.
    n_steps
        n, at least 1: the step in which the full learning rate is reached.

    Examples
    --------
    >>> t = step_counter(4)
    >>> eta = warm_up(t, exponential(t, 0.8, factor=0.5, every=4), n_steps=10)
    >>> float(eta.eval(mode="FAST_COMPILE"))  # 0.8 / 2, and of that 5 / 10
    0.2
    """
    if not isinstance(learning_rate, Variable):
        check_positive("learning_rate", learning_rate)
    return learning_rate * pt.minimum((_float(t) + 1) / _count("n_steps", n_steps), 1.0)


def _power(learning_rate: float, factor: float, exponent: TensorVariable) -> TensorVariable:
    check_positive("learning_rate", learning_rate)
    check_positive("factor", factor)
    return learning_rate * pt.exp(float(np.log(factor)) * exponent)


def _float(t: Any) -> TensorVariable:
    """The counter as a float, after a check that it is an integer scalar."""
    t = pt.as_tensor_variable(t)
    if t.ndim or "int" not in t.dtype:
        raise ValueError(
            f"the step counter has {t.ndim} axes and dtype {t.dtype}, but must be an integer "
            "scalar: make it with step_counter()"
        )
    return t.astype(pytensor.config.floatX)


def _count(name: str, value: float) -> float:
    """Check a number of steps."""
    check_positive(name, value)
    if value < 1:
        raise ValueError(f"{name} is {value}, but must be at least 1")
    return float(value)
