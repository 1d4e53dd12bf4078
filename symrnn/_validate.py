"""Every check of a plain argument, once: what was given, what is wanted, and the usual fix.

Checks of symbolic inputs, which know what a layer was made for, are in `symrnn.nn.inputs`.
"""

from collections.abc import Collection
from numbers import Integral
from typing import Any

import numpy as np
from numpy.random import Generator, RandomState


def check_positive(name: str, value: Any, or_zero: bool = False) -> None:
    """Raise ValueError if `value` is not a finite number above 0 (or 0, where that is allowed)."""
    try:
        number = float("nan") if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not (0 < number < np.inf or (or_zero and number == 0)):
        wanted = "a number, 0 or positive" if or_zero else "a positive number"
        raise ValueError(f"{name} is {value!r}, but must be {wanted}")


def check_whole(name: str, value: Any, most: int | None = None, least: int = 1) -> None:
    """Raise ValueError if `value` is not a whole number from `least` to `most`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        limit = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value!r}, but must be a whole number, {limit}")


def check_sizes(**sizes: Any) -> None:
    """Raise ValueError if one of the named sizes is not a whole number, at least 1."""
    for name, size in sizes.items():
        check_whole(name, size)


def check_bounds(name: str, value: Any, least: int = 1) -> None:
    """Raise ValueError unless the value is two whole numbers, the smallest and the largest."""
    both = list(value) if isinstance(value, tuple | list) else []
    whole = all(isinstance(v, Integral) and not isinstance(v, bool) for v in both)
    if len(both) != 2 or not whole or not least <= both[0] <= both[1]:
        raise ValueError(
            f"{name} is {value!r}, but must be two whole numbers, the smallest, at least {least}, "
            f"and the largest: ({max(least, 1)}, 3)"
        )


def check_token_id(name: str, value: Any, n_tokens: int | None = None) -> None:
    """Raise TypeError or ValueError unless `value` is a token id, from 0 to ``n_tokens - 1``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}, but must be a token id, such as vocabulary.eos")
    if not 0 <= int(value) < (np.inf if n_tokens is None else n_tokens):
        limit = "" if n_tokens is None else f" to {n_tokens - 1}"
        raise ValueError(f"{name} is {value}, but must be a token id, from 0{limit}")


def check_fraction(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is within [0, 1): a fraction that is dropped, a decay."""
    if not isinstance(value, int | float | np.number) or not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}, but must be in [0, 1)")


def check_choice(name: str, value: Any, choices: Collection[Any]) -> None:
    """Raise ValueError unless `value` is one of the choices."""
    if value not in tuple(choices):  # a list, for example, cannot be looked up in a dictionary
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name} is {value!r}, but must be one of {listed}")


def check_rng(rng: Any, name: str = "rng", legacy: bool = False) -> None:
    """Raise TypeError if `rng` is not a generator of NumPy (`legacy`: or a RandomState)."""
    if not isinstance(rng, (Generator, RandomState) if legacy else Generator):
        raise TypeError(f"{name} is {rng!r}, but must be a generator: numpy.random.default_rng(1)")
