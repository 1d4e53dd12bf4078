"""Optimizers: functions from a loss to the updates of one training step.

>>> import numpy as np, pytensor, pytensor.tensor as pt
>>> w = pytensor.shared(np.array(5.0), name="w")
>>> step = pytensor.function([], w**2, updates=gradient_descent(w**2, [w], 0.25),
...                          mode="FAST_COMPILE")
>>> [float(step()) for _ in range(3)]
[25.0, 6.25, 1.5625]

All have the signature ``optimizer(loss_or_grads, params, learning_rate, *, ...) -> updates``. The
result, ``{shared variable: its next value}``, holds the parameters and the optimizer's state:
shared variables that start at zero and are named after optimizer, letter and parameter, for example
``adam.m[W_x]``. Merge it with other updates with ``|``.

In the equations p is a parameter, g its gradient and eta the learning rate; products, quotients and
square roots are elementwise. Where a gradient is to be changed first, give the list of gradients in
place of the loss: ``adam(clip_by_global_norm(pytensor.grad(loss, params), 5.0), params)``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import DisconnectedInputError
from pytensor.graph.basic import Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_fraction, check_positive
from symrnn.nn.module import check_parameters, label, zeros_like
from symrnn.training.clipping import check_same_number, in_dtype_of

Updates = dict[SharedVariable, TensorVariable]
"""The next values of shared variables, as `pytensor.function` takes them."""

Optimizer = Callable[[TensorVariable, list[Any]], dict[Any, Any]]
"""A function (loss, params) -> updates: ``lambda loss, params: adam(loss, params, 0.003)``."""


def gradient_descent(loss_or_grads: Any, params: Sequence[Any], learning_rate: Any) -> Updates:
    """Gradient descent.

    ``p <- p - eta g``

    Parameters
    ----------
    loss_or_grads
        The loss, a scalar; or the list of its gradients, one for each parameter.
    params
        A list of shared float variables, such as ``model.params``.
    learning_rate
        eta: a positive number, a shared scalar, or a graph (see `symrnn.schedules`).

    Returns
    -------
    dict
        ``{shared variable: its next value}``, of parameters and state, for ``updates=``.

    Examples
    --------
    >>> w = pytensor.shared(np.array(5.0), name="w")
    >>> updates = gradient_descent(w**2, [w], learning_rate=0.1)
    >>> step = pytensor.function([], w**2, updates=updates, mode="FAST_COMPILE")
    >>> [round(float(step()), 3) for _ in range(3)]
    [25.0, 16.0, 10.24]
    """
    eta = _learning_rate(learning_rate)
    pairs = _params_and_gradients(loss_or_grads, params)
    return _in_own_dtype({p: p - in_dtype_of(p, eta) * g for p, g in pairs})


def momentum(
    loss_or_grads: Any, params: Sequence[Any], learning_rate: Any, *, mu: float = 0.9
) -> Updates:
    """Gradient descent with momentum (Polyak, 1964).

    ``v <- mu v + g``

    ``p <- p - eta v``

    The learning rate stands outside the velocity v, as in torch: a new one acts at once.

    Parameters
    ----------
    loss_or_grads
        The loss, a scalar; or the list of its gradients, one for each parameter.
    params
        A list of shared float variables, such as ``model.params``.
    learning_rate
        eta: a positive number, a shared scalar, or a graph (see `symrnn.schedules`).
    mu
        Fraction of the velocity that is kept, in [0, 1).

    Returns
    -------
    dict
        ``{shared variable: its next value}``, of parameters and state, for ``updates=``.

    Examples
    --------
    >>> w = pytensor.shared(np.array(5.0), name="w")
    >>> updates = momentum(w**2, [w], learning_rate=0.1, mu=0.9)
    >>> step = pytensor.function([], w**2, updates=updates, mode="FAST_COMPILE")
    >>> [round(float(step()), 3) for _ in range(3)]
    [25.0, 16.0, 5.29]
    """
    check_fraction("mu", mu)
    eta = _learning_rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        v = _state("momentum.v", p)
        updates[v] = mu * v + g
        updates[p] = p - in_dtype_of(p, eta) * updates[v]
    return _in_own_dtype(updates)


def nesterov_momentum(
    loss_or_grads: Any, params: Sequence[Any], learning_rate: Any, *, mu: float = 0.9
) -> Updates:
    """Nesterov's accelerated gradient (Nesterov, 1983), in the form of Bengio et al. (2013).

    ``v <- mu v + g``

    ``p <- p - eta (g + mu v)``

    The learning rate stands outside the velocity v, as in torch: a new one acts at once.

    Parameters
    ----------
    loss_or_grads
        The loss, a scalar; or the list of its gradients, one for each parameter.
    params
        A list of shared float variables, such as ``model.params``.
    learning_rate
        eta: a positive number, a shared scalar, or a graph (see `symrnn.schedules`).
    mu
        Fraction of the velocity that is kept, in [0, 1).

    Returns
    -------
    dict
        ``{shared variable: its next value}``, of parameters and state, for ``updates=``.

    Examples
    --------
    >>> w = pytensor.shared(np.array(5.0), name="w")
    >>> updates = nesterov_momentum(w**2, [w], learning_rate=0.1, mu=0.9)
    >>> step = pytensor.function([], w**2, updates=updates, mode="FAST_COMPILE")
    >>> [round(float(step()), 3) for _ in range(3)]
    [25.0, 9.61, 1.237]
    """
    check_fraction("mu", mu)
    eta = _learning_rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        v = _state("nesterov_momentum.v", p)
        updates[v] = mu * v + g
        updates[p] = p - in_dtype_of(p, eta) * (g + mu * updates[v])
    return _in_own_dtype(updates)


def adagrad(
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any = 0.01,
    *,
    epsilon: float = 1e-10,
) -> Updates:
    """AdaGrad (Duchi et al., 2011).

    ``G <- G + g^2``

    ``p <- p - eta g / (sqrt(G) + epsilon)``

    Parameters
    ----------
    loss_or_grads
        The loss, a scalar; or the list of its gradients, one for each parameter.
    params
        A list of shared float variables, such as ``model.params``.
    learning_rate
        eta: a positive number, a shared scalar, or a graph (see `symrnn.schedules`).
    epsilon
        Positive; keeps the quotient finite.

    Returns
    -------
    dict
        ``{shared variable: its next value}``, of parameters and state, for ``updates=``.

    Examples
    --------
    >>> w = pytensor.shared(np.array(5.0), name="w")
    >>> updates = adagrad(w**2, [w], learning_rate=0.1)
    >>> step = pytensor.function([], w**2, updates=updates, mode="FAST_COMPILE")
    >>> [round(float(step()), 3) for _ in range(3)]
    [25.0, 24.01, 23.329]
    """
    check_positive("epsilon", epsilon)
    eta = _learning_rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        G = _state("adagrad.G", p)
        updates[G] = G + g**2
        updates[p] = p - in_dtype_of(p, eta) * g / (pt.sqrt(updates[G]) + epsilon)
    return _in_own_dtype(updates)


def rmsprop(
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any = 0.001,
    *,
    rho: float = 0.9,
    epsilon: float = 1e-8,
    centered: bool = False,
    mu: float = 0.0,
    nesterov: bool = False,
    epsilon_in_root: bool = False,
) -> Updates:
    """RMSProp (Tieleman and Hinton, 2012), optionally centered and with momentum (Graves, 2013).

    ``n <- rho n + (1 - rho) g^2``

    ``m <- rho m + (1 - rho) g`` if centered, else ``m = 0``

    ``u = g / (sqrt(n - m^2) + epsilon)``, or ``g / sqrt(n - m^2 + epsilon)``

    ``v <- mu v + u``

    ``p <- p - eta v``, or with Nesterov's momentum ``p <- p - eta (u + mu v)``

    Parameters
    ----------
    loss_or_grads
        The loss, a scalar; or the list of its gradients, one for each parameter.
    params
        A list of shared float variables, such as ``model.params``.
    learning_rate
        eta: a positive number, a shared scalar, or a graph (see `symrnn.schedules`).
    rho
        Decay of the running averages n and m, in [0, 1).
    epsilon
        Positive; keeps the quotient finite.
    centered
        Divide by the gradient's standard deviation instead of its root mean square.
    mu
        Momentum: fraction of the velocity v that is kept, in [0, 1).
    nesterov
        Use Nesterov's form of momentum; needs ``mu > 0``.
    epsilon_in_root
        Add epsilon before taking the square root, as Graves does, and not after it.

    Returns
    -------
    dict
        ``{shared variable: its next value}``, of parameters and state, for ``updates=``.

    Examples
    --------
    >>> w = pytensor.shared(np.array(5.0), name="w")
    >>> updates = rmsprop(w**2, [w], learning_rate=0.1, mu=0.5)
    >>> step = pytensor.function([], w**2, updates=updates, mode="FAST_COMPILE")
    >>> [round(float(step()), 3) for _ in range(3)]
    [25.0, 21.938, 18.52]
    """
    check_fraction("rho", rho)
    check_fraction("mu", mu)
    check_positive("epsilon", epsilon)
    if nesterov and not mu:
        raise ValueError("nesterov is a form of momentum: give mu as well, for example mu=0.9")
    eta = _learning_rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        n = _state("rmsprop.n", p)
        updates[n] = variance = rho * n + (1 - rho) * g**2
        if centered:
            m = _state("rmsprop.m", p)
            updates[m] = rho * m + (1 - rho) * g
            variance = pt.maximum(variance - updates[m] ** 2, 0)  # rounding can fall below 0
        u = g / (pt.sqrt(variance + epsilon) if epsilon_in_root else pt.sqrt(variance) + epsilon)
        if mu:
            v = _state("rmsprop.v", p)
            updates[v] = mu * v + u
            u = u + mu * updates[v] if nesterov else updates[v]
        updates[p] = p - in_dtype_of(p, eta) * u
    return _in_own_dtype(updates)


def adadelta(
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any = 1.0,
    *,
    rho: float = 0.9,
    epsilon: float = 1e-6,
) -> Updates:
    """AdaDelta (Zeiler, 2012).

    ``n <- rho n + (1 - rho) g^2``

    ``d = g sqrt(s + epsilon) / sqrt(n + epsilon)``

    ``s <- rho s + (1 - rho) d^2``

    ``p <- p - eta d``; the paper has no learning rate, that is ``eta = 1``

    Parameters
    ----------
    loss_or_grads
        The loss, a scalar; or the list of its gradients, one for each parameter.
    params
        A list of shared float variables, such as ``model.params``.
    learning_rate
        eta: a positive number, a shared scalar, or a graph (see `symrnn.schedules`).
    rho
        Decay of the running averages n and s, in [0, 1).
    epsilon
        Positive; sets the size of the first steps and keeps the quotient finite.

    Returns
    -------
    dict
        ``{shared variable: its next value}``, of parameters and state, for ``updates=``.

    Examples
    --------
    >>> w = pytensor.shared(np.array(5.0), name="w")
    >>> updates = adadelta(w**2, [w], epsilon=0.01)
    >>> step = pytensor.function([], w**2, updates=updates, mode="FAST_COMPILE")
    >>> [round(float(step()), 3) for _ in range(3)]
    [25.0, 21.939, 19.096]
    """
    check_fraction("rho", rho)
    check_positive("epsilon", epsilon)
    eta = _learning_rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        n, s = _state("adadelta.n", p), _state("adadelta.s", p)
        updates[n] = rho * n + (1 - rho) * g**2
        d = g * pt.sqrt(s + epsilon) / pt.sqrt(updates[n] + epsilon)
        updates[s] = rho * s + (1 - rho) * d**2
        updates[p] = p - in_dtype_of(p, eta) * d
    return _in_own_dtype(updates)


def adam(
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any = 0.001,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> Updates:
    """Adam (Kingma and Ba, 2015).

    ``t <- t + 1``

    ``m <- beta_1 m + (1 - beta_1) g``

    ``v <- beta_2 v + (1 - beta_2) g^2``

    ``m_hat = m / (1 - beta_1^t)``, ``v_hat = v / (1 - beta_2^t)``

    ``p <- p - eta m_hat / (sqrt(v_hat) + epsilon)``

    Parameters
    ----------
    loss_or_grads
        The loss, a scalar; or the list of its gradients, one for each parameter.
    params
        A list of shared float variables, such as ``model.params``.
    learning_rate
        eta: a positive number, a shared scalar, or a graph (see `symrnn.schedules`).
    beta_1, beta_2
        Decay of the running averages m and v, in [0, 1).
    epsilon
        Positive; keeps the quotient finite.

    Returns
    -------
    dict
        ``{shared variable: its next value}``, of parameters and state, for ``updates=``.

    Examples
    --------
    >>> w = pytensor.shared(np.array(5.0), name="w")
    >>> updates = adam(w**2, [w], learning_rate=0.1)
    >>> [variable.name for variable in updates]
    ['adam.t', 'adam.m[w]', 'adam.v[w]', 'w']
    >>> step = pytensor.function([], w**2, updates=updates, mode="FAST_COMPILE")
    >>> [round(float(step()), 3) for _ in range(3)]
    [25.0, 24.01, 23.041]
    """
    return _adam("adam", loss_or_grads, params, learning_rate, beta_1, beta_2, epsilon, 0.0)


def adamw(
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any = 0.001,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
) -> Updates:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    ``t <- t + 1``

    ``m <- beta_1 m + (1 - beta_1) g``

    ``v <- beta_2 v + (1 - beta_2) g^2``

    ``m_hat = m / (1 - beta_1^t)``, ``v_hat = v / (1 - beta_2^t)``

    ``p <- (1 - eta lambda) p - eta m_hat / (sqrt(v_hat) + epsilon)``

    Parameters
    ----------
    loss_or_grads
        The loss, a scalar; or the list of its gradients, one for each parameter.
    params
        A list of shared float variables, such as ``model.params``.
    learning_rate
        eta: a positive number, a shared scalar, or a graph (see `symrnn.schedules`).
    beta_1, beta_2
        Decay of the running averages m and v, in [0, 1).
    epsilon
        Positive; keeps the quotient finite.
    weight_decay
        lambda, at least 0. All of `params` decay, biases too.

    Returns
    -------
    dict
        ``{shared variable: its next value}``, of parameters and state, for ``updates=``.

    Examples
    --------
    >>> w = pytensor.shared(np.array(5.0), name="w")
    >>> updates = adamw(w**2, [w], learning_rate=0.1, weight_decay=0.1)
    >>> step = pytensor.function([], w**2, updates=updates, mode="FAST_COMPILE")
    >>> [round(float(step()), 3) for _ in range(3)]
    [25.0, 23.523, 22.105]
    """
    check_positive("weight_decay", weight_decay, or_zero=True)
    return _adam(
        "adamw", loss_or_grads, params, learning_rate, beta_1, beta_2, epsilon, weight_decay
    )


def _adam(
    name: str,
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    weight_decay: float,
) -> Updates:
    check_fraction("beta_1", beta_1)
    check_fraction("beta_2", beta_2)
    check_positive("epsilon", epsilon)
    eta = _learning_rate(learning_rate)
    pairs = _params_and_gradients(loss_or_grads, params)
    t = pytensor.shared(np.array(0, dtype="int64"), name=f"{name}.t")
    updates: Updates = {t: t + 1}
    # In float64: 1 - beta_2^t has few digits left in float32.
    power_1, power_2 = (pt.constant(b, dtype="float64") ** updates[t] for b in (beta_1, beta_2))
    for p, g in pairs:
        m, v = _state(f"{name}.m", p), _state(f"{name}.v", p)
        updates[m] = beta_1 * m + (1 - beta_1) * g
        updates[v] = beta_2 * v + (1 - beta_2) * g**2
        m_hat = updates[m] / in_dtype_of(p, 1 - power_1)
        v_hat = updates[v] / in_dtype_of(p, 1 - power_2)
        decayed = p - in_dtype_of(p, eta) * weight_decay * p if weight_decay else p
        updates[p] = decayed - in_dtype_of(p, eta) * m_hat / (pt.sqrt(v_hat) + epsilon)
    return _in_own_dtype(updates)


def _params_and_gradients(
    loss_or_grads: Any, params: Sequence[Any]
) -> list[tuple[SharedVariable, TensorVariable]]:
    """Pairs of parameter and gradient, checked; each gradient in its parameter's dtype."""
    params = check_parameters(params)
    if isinstance(loss_or_grads, list | tuple):
        gradients = [pt.as_tensor_variable(g) for g in loss_or_grads]
        check_same_number(gradients, params)
    else:
        gradients = _gradients(pt.as_tensor_variable(loss_or_grads), params)
    for p, g in zip(params, gradients, strict=True):
        if g.ndim != p.ndim:
            raise ValueError(
                f"the gradient of {label(p)} has {g.ndim} axes, but {label(p)} has {p.ndim}: "
                "are gradients and parameters in the same order?"
            )
    return [(p, g.astype(p.dtype)) for p, g in zip(params, gradients, strict=True)]


def _gradients(loss: TensorVariable, params: list[SharedVariable]) -> list[TensorVariable]:
    if not loss.dtype.startswith("float"):
        raise ValueError(
            f"the loss has dtype {loss.dtype}, and a loss that counts is not differentiable: "
            "train on a smooth one, such as symrnn.categorical_cross_entropy"
        )
    if loss.ndim:
        raise ValueError(
            f"the loss has {loss.ndim} axes, but must be a scalar: "
            "take its .sum() or .mean() over all samples"
        )
    try:
        return list(pytensor.grad(loss, params))
    except DisconnectedInputError:
        gradients = pytensor.grad(
            loss, params, disconnected_inputs="ignore", return_disconnected="none"
        )
        unused = [label(p) for p, g in zip(params, gradients, strict=True) if g is None]
        raise ValueError(
            f"the loss does not depend on {', '.join(unused)}: leave it out of params, or use it "
            "in the graph of the loss"
        ) from None


def _state(name: str, parameter: SharedVariable) -> SharedVariable:
    """State of an optimizer for one parameter, zero at first, such as ``adam.m[W_x]``."""
    return zeros_like(parameter, f"{name}[{label(parameter)}]")


def _learning_rate(learning_rate: Any) -> Any:
    """Return eta: the positive number, or the scalar variable, checked not to be negative."""
    if not isinstance(learning_rate, Variable):
        check_positive("learning_rate", learning_rate)
        return learning_rate
    if learning_rate.ndim:
        raise ValueError(f"learning_rate has {learning_rate.ndim} axes, but must be a scalar")
    if isinstance(learning_rate, SharedVariable):
        check_positive("learning_rate", learning_rate.get_value())
    not_negative = CheckAndRaise(ValueError, "the learning rate has become negative or NaN")
    return not_negative(learning_rate, pt.ge(learning_rate, 0))


def _in_own_dtype(updates: Updates) -> Updates:
    """Each next value in the dtype of its variable, as `pytensor.function` demands."""
    return {variable: value.astype(variable.dtype) for variable, value in updates.items()}
