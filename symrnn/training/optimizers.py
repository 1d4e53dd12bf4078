"""Update rules: each turns a loss into a dictionary of updates for `pytensor.function`.

>>> import numpy as np, pytensor, pytensor.tensor as pt
>>> w = pytensor.shared(np.array(5.0), name="w")
>>> step = pytensor.function([], w**2, updates=gradient_descent(w**2, [w], 0.25),
...                          mode="FAST_COMPILE")
>>> [float(step()) for _ in range(3)]
[25.0, 6.25, 1.5625]

Every rule has the signature ``rule(loss_or_grads, params, learning_rate, ...) -> dict``:

loss_or_grads
    A scalar loss, or the list of its gradients, one for each parameter. With gradients one can
    clip them first: ``adam(clip_by_global_norm(pytensor.grad(loss, params), 5.0), params)``.
params
    A list of shared float variables.
learning_rate
    A positive number, a shared scalar, or the graph of one (see `symrnn.training.schedules`).
the result
    ``{shared variable: its next value}`` for the parameters and for the rule's own memory
    (accumulators), which starts at zero and is named after rule, letter and parameter, for
    example ``adam.m[W_x]``. Several such dictionaries can be merged with ``|``.

In the equations p is a parameter, g its gradient, eta the learning rate; all products, roots and
quotients are elementwise. Every rule raises

TypeError
    if a parameter is no shared variable or not of a float dtype;
ValueError
    if the loss is no scalar, or does not depend on a parameter; if there are not as many gradients
    as parameters or one has another number of axes; if the rate is not positive, or a coefficient
    is out of its range.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import DisconnectedInputError
from pytensor.graph.basic import Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.variable import TensorVariable

from symrnn._validate import check_positive
from symrnn.nn.module import check_parameters, label, zeros_like
from symrnn.training.clipping import check_same_number, in_dtype_of

Updates = dict[SharedVariable, TensorVariable]


def gradient_descent(loss_or_grads: Any, params: Sequence[Any], learning_rate: Any) -> Updates:
    """Gradient descent.

    ``p <- p - eta g``
    """
    rate = _rate(learning_rate)
    pairs = _params_and_gradients(loss_or_grads, params)
    return _in_own_dtype({p: p - in_dtype_of(p, rate) * g for p, g in pairs})


def momentum(
    loss_or_grads: Any, params: Sequence[Any], learning_rate: Any, mu: float = 0.9
) -> Updates:
    """Gradient descent with momentum (Polyak, 1964).

    ``v <- mu v + g``, ``p <- p - eta v``

    The rate stands outside the velocity, as in most libraries today: a new rate acts at once.

    Parameters
    ----------
    loss_or_grads, params, learning_rate
        As for every rule, see `symrnn.training.optimizers`.
    mu
        How much of the last velocity is kept, at least 0 and below 1.
    """
    _check_kept("mu", mu)
    rate = _rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        v = _memory("momentum.v", p)
        updates[v] = mu * v + g
        updates[p] = p - in_dtype_of(p, rate) * updates[v]
    return _in_own_dtype(updates)


def nesterov_momentum(
    loss_or_grads: Any, params: Sequence[Any], learning_rate: Any, mu: float = 0.9
) -> Updates:
    """Nesterov's accelerated gradient (Nesterov, 1983; rewritten as by Bengio et al., 2013).

    ``v <- mu v + g``, ``p <- p - eta (g + mu v)``

    The rate stands outside the velocity, as in `momentum`.

    Parameters
    ----------
    loss_or_grads, params, learning_rate
        As for every rule, see `symrnn.training.optimizers`.
    mu
        How much of the last velocity is kept, at least 0 and below 1.
    """
    _check_kept("mu", mu)
    rate = _rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        v = _memory("nesterov_momentum.v", p)
        updates[v] = mu * v + g
        updates[p] = p - in_dtype_of(p, rate) * (g + mu * updates[v])
    return _in_own_dtype(updates)


def adagrad(
    loss_or_grads: Any, params: Sequence[Any], learning_rate: Any = 0.01, epsilon: float = 1e-10
) -> Updates:
    """AdaGrad (Duchi et al., 2011).

    ``G <- G + g^2``, ``p <- p - eta g / (sqrt(G) + epsilon)``

    Parameters
    ----------
    loss_or_grads, params, learning_rate
        As for every rule, see `symrnn.training.optimizers`.
    epsilon
        Keeps the quotient finite; positive.
    """
    check_positive("epsilon", epsilon)
    rate = _rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        G = _memory("adagrad.G", p)
        updates[G] = G + g**2
        updates[p] = p - in_dtype_of(p, rate) * g / (pt.sqrt(updates[G]) + epsilon)
    return _in_own_dtype(updates)


def rmsprop(
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any = 0.001,
    rho: float = 0.9,
    epsilon: float = 1e-8,
    centred: bool = False,
    mu: float = 0.0,
    nesterov: bool = False,
    epsilon_in_root: bool = False,
) -> Updates:
    """RMSProp (Tieleman and Hinton, 2012), if wanted centred and with momentum (Graves, 2013).

    ``n <- rho n + (1 - rho) g^2``

    ``m <- rho m + (1 - rho) g``, if centred, else ``m = 0``

    ``u = g / (sqrt(n - m^2) + epsilon)``, or ``g / sqrt(n - m^2 + epsilon)``

    ``v <- mu v + u``

    ``p <- p - eta v``, or Nesterov's ``p <- p - eta (u + mu v)``

    Parameters
    ----------
    loss_or_grads, params, learning_rate
        As for every rule, see `symrnn.training.optimizers`.
    rho
        How much of the last averages is kept, at least 0 and below 1.
    epsilon
        Keeps the quotient finite; positive.
    centred
        Divide by the gradient's standard deviation in place of its root mean square.
    mu
        Momentum: how much of the last velocity is kept, at least 0 and below 1.
    nesterov
        Use Nesterov's form of the momentum.
    epsilon_in_root
        Add epsilon before the root is taken, as Graves does, and not after it.
    """
    _check_kept("rho", rho)
    _check_kept("mu", mu)
    check_positive("epsilon", epsilon)
    if nesterov and not mu:
        raise ValueError("nesterov is a form of momentum: give mu as well, for example mu=0.9")
    rate = _rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        n = _memory("rmsprop.n", p)
        updates[n] = variance = rho * n + (1 - rho) * g**2
        if centred:
            m = _memory("rmsprop.m", p)
            updates[m] = rho * m + (1 - rho) * g
            variance = pt.maximum(variance - updates[m] ** 2, 0)  # rounding can fall below 0
        u = g / (pt.sqrt(variance + epsilon) if epsilon_in_root else pt.sqrt(variance) + epsilon)
        if mu:
            v = _memory("rmsprop.v", p)
            updates[v] = mu * v + u
            u = u + mu * updates[v] if nesterov else updates[v]
        updates[p] = p - in_dtype_of(p, rate) * u
    return _in_own_dtype(updates)


def adadelta(
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any = 1.0,
    rho: float = 0.9,
    epsilon: float = 1e-6,
) -> Updates:
    """AdaDelta (Zeiler, 2012).

    ``n <- rho n + (1 - rho) g^2``

    ``d = g sqrt(s + epsilon) / sqrt(n + epsilon)``

    ``s <- rho s + (1 - rho) d^2``, ``p <- p - eta d``

    Parameters
    ----------
    loss_or_grads, params, learning_rate
        As for every rule, see `symrnn.training.optimizers`. The paper has no rate, that is ``eta = 1``.
    rho
        How much of the last averages is kept, at least 0 and below 1.
    epsilon
        Starts the first steps and keeps the quotient finite; positive.
    """
    _check_kept("rho", rho)
    check_positive("epsilon", epsilon)
    rate = _rate(learning_rate)
    updates: Updates = {}
    for p, g in _params_and_gradients(loss_or_grads, params):
        n, s = _memory("adadelta.n", p), _memory("adadelta.s", p)
        updates[n] = rho * n + (1 - rho) * g**2
        d = g * pt.sqrt(s + epsilon) / pt.sqrt(updates[n] + epsilon)
        updates[s] = rho * s + (1 - rho) * d**2
        updates[p] = p - in_dtype_of(p, rate) * d
    return _in_own_dtype(updates)


def adam(
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> Updates:
    """Adam (Kingma and Ba, 2015).

    ``t <- t + 1``

    ``m <- beta_1 m + (1 - beta_1) g``

    ``v <- beta_2 v + (1 - beta_2) g^2``

    ``p <- p - eta (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)``

    Parameters
    ----------
    loss_or_grads, params, learning_rate
        As for every rule, see `symrnn.training.optimizers`.
    beta_1, beta_2
        How much of the averages of g and of its square is kept, at least 0 and below 1.
    epsilon
        Keeps the quotient finite; positive.
    """
    return _adam("adam", loss_or_grads, params, learning_rate, beta_1, beta_2, epsilon, 0.0)


def adamw(
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    decay: float = 0.01,
) -> Updates:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    ``p <- (1 - eta decay) p``, and then the step of `adam`

    Parameters
    ----------
    loss_or_grads, params, learning_rate, beta_1, beta_2, epsilon
        As for `adam`.
    decay
        Strength of the decay, at least 0.
    """
    check_positive("decay", decay, or_zero=True)
    return _adam("adamw", loss_or_grads, params, learning_rate, beta_1, beta_2, epsilon, decay)


def _adam(
    name: str,
    loss_or_grads: Any,
    params: Sequence[Any],
    learning_rate: Any,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    decay: float,
) -> Updates:
    _check_kept("beta_1", beta_1)
    _check_kept("beta_2", beta_2)
    check_positive("epsilon", epsilon)
    rate = _rate(learning_rate)
    pairs = _params_and_gradients(loss_or_grads, params)
    t = pytensor.shared(np.array(0, dtype="int64"), name=f"{name}.t")
    updates: Updates = {t: t + 1}
    # In float64: 1 - beta_2^t has few digits left in float32.
    decay_1, decay_2 = (pt.constant(b, dtype="float64") ** updates[t] for b in (beta_1, beta_2))
    for p, g in pairs:
        m, v = _memory(f"{name}.m", p), _memory(f"{name}.v", p)
        updates[m] = beta_1 * m + (1 - beta_1) * g
        updates[v] = beta_2 * v + (1 - beta_2) * g**2
        m_hat = updates[m] / in_dtype_of(p, 1 - decay_1)
        v_hat = updates[v] / in_dtype_of(p, 1 - decay_2)
        kept = p - in_dtype_of(p, rate) * decay * p if decay else p
        updates[p] = kept - in_dtype_of(p, rate) * m_hat / (pt.sqrt(v_hat) + epsilon)
    return _in_own_dtype(updates)


def _params_and_gradients(
    loss_or_grads: Any, params: Sequence[Any]
) -> list[tuple[SharedVariable, TensorVariable]]:
    """Pairs of parameter and gradient, checked, the gradients of the parameters' dtypes."""
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
            f"the loss has dtype {loss.dtype}, and what counts in whole numbers has no slope to "
            "follow: use a smooth loss (symrnn.training.losses) for training"
        )
    if loss.ndim:
        raise ValueError(
            f"the loss has {loss.ndim} axes, but must be one number: "
            "take its .sum() or .mean() over all samples"
        )
    try:
        return list(pytensor.grad(loss, params))
    except DisconnectedInputError:
        slopes = pytensor.grad(
            loss, params, disconnected_inputs="ignore", return_disconnected="none"
        )
        lost = [label(p) for p, slope in zip(params, slopes, strict=True) if slope is None]
        raise ValueError(
            f"the loss does not depend on {', '.join(lost)}: leave it out of params, or use it in "
            "the graph of the loss"
        ) from None


def _memory(name: str, parameter: SharedVariable) -> SharedVariable:
    return zeros_like(parameter, f"{name}[{label(parameter)}]")


def _rate(rate: Any) -> Any:
    """Return the learning rate, a number or a scalar variable that refuses negative values."""
    if not isinstance(rate, Variable):
        check_positive("the learning rate", rate)
        return rate
    if rate.ndim:
        raise ValueError(f"the learning rate has {rate.ndim} axes, but must be one number")
    if isinstance(rate, SharedVariable):
        check_positive("the learning rate", rate.get_value())
    not_negative = CheckAndRaise(ValueError, "the learning rate has become negative or NaN")
    return not_negative(rate, pt.ge(rate, 0))


def _in_own_dtype(updates: Updates) -> Updates:
    """Each next value in the dtype of its variable, as `pytensor.function` demands."""
    return {variable: value.astype(variable.dtype) for variable, value in updates.items()}


def _check_kept(name: str, value: float) -> None:
    """Check how much of a running average is kept."""
    check_positive(name, value, or_zero=True)
    if value >= 1:
        raise ValueError(f"{name} is {value}, but must be below 1")
