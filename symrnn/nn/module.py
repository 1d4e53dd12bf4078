"""Shared weights: of the right shape and dtype, and with the name that equations and graphs use."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
from numpy.random import Generator, RandomState
from numpy.typing import ArrayLike
from pytensor.compile.sharedvalue import SharedVariable

import symrnn.kernels.products  # noqa: F401 - in mode NUMBA, x.T @ dy without a copy of x.T
from symrnn.nn.initializers import Initializer, Random


def shared_parameter(
    name: str,
    shape: Sequence[int],
    initial: Initializer | ArrayLike,
    rng: Random | None = None,
) -> SharedVariable:
    """Make a named shared weight of dtype ``pytensor.config.floatX``.

    Parameters
    ----------
    name
        The symbol the equations use; ``pytensor.dprint`` shows it.
    shape
        Shape of the weight. All sizes at least 1.
    initial
        An initializer ``(rng, shape) -> array`` of `symrnn.nn.initializers`, or the values themselves.
    rng
        Source of random numbers; needed when `initial` is an initializer.

    Returns
    -------
    SharedVariable
        Holds a copy of the values.

    Raises
    ------
    ValueError
        If the values do not have `shape`, or are not finite, or an initializer is given no `rng`.

    Examples
    --------
    >>> W_x = shared_parameter("W_x", (1, 1), [[0.09]])
    >>> W_x.name, W_x.get_value().shape
    ('W_x', (1, 1))
    """
    if min(shape, default=1) < 1:
        raise ValueError(f"{name} cannot have shape {tuple(shape)}: every size must be at least 1")
    if callable(initial):
        if not isinstance(rng, Generator | RandomState):
            raise ValueError(
                f"{name}: an initializer draws random numbers, so give it a generator, "
                f"for example rng=numpy.random.default_rng(1), and not {rng!r}"
            )
        values = initial(rng, tuple(shape))
    else:
        values = np.array(initial)
    values = np.asarray(values, dtype=pytensor.config.floatX)
    if values.shape != tuple(shape):
        raise ValueError(
            f"{name} has shape {tuple(shape)}, but its initial values have shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"the initial values of {name} are not all finite")
    return pytensor.shared(values, name=name)


def zeros_like(parameter: SharedVariable, name: str) -> SharedVariable:
    """Make a shared variable of zeros with the shape, dtype and static shape of `parameter`."""
    value = parameter.get_value(borrow=True)
    return pytensor.shared(np.zeros_like(value), name=name, shape=parameter.type.shape)


def check_parameters(params: Sequence[Any]) -> list[SharedVariable]:
    """Return `params` as a list of distinct shared float variables.

    Raises
    ------
    TypeError
        If one is not a shared variable, or not of a float dtype.
    ValueError
        If the list is empty or one stands in it twice.
    """
    if isinstance(params, SharedVariable):
        raise TypeError(f"params must be a list: write [{params.name or 'w'}]")
    if not isinstance(params, list | tuple):
        raise TypeError(
            f"params must be a list of shared variables, for example cell.params, "
            f"and not {params!r}"
        )
    params = list(params)
    if not params:
        raise ValueError("params is empty: there is nothing to update")
    for parameter in params:
        if not isinstance(parameter, SharedVariable):
            raise TypeError(
                f"only shared variables can be updated, but {parameter!r} is a "
                f"{type(parameter).__name__}: make it with pytensor.shared(array, name=...)"
            )
        dtype = getattr(parameter.type, "dtype", "no number")
        if not dtype.startswith("float"):
            raise TypeError(
                f"{label(parameter)} has dtype {dtype}, and gradient steps need a float: "
                "make it with pytensor.shared(array.astype(pytensor.config.floatX))"
            )
    if len(set(params)) < len(params):
        twice = next(p for i, p in enumerate(params) if p in params[:i])
        raise ValueError(f"{label(twice)} is in params twice")
    return params


def label(variable: Any) -> str:
    """Name of a variable for messages."""
    return str(variable.name or variable)
