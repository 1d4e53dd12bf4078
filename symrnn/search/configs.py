"""Configurations to try: all combinations of values, or random draws."""

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.random import Generator

from symrnn._validate import check_rng, check_whole
from symrnn.search.results import RESERVED, plain

Config = dict[str, Any]
Draw = Callable[[Generator], Any]
"""How `random` draws a value: any function of a generator."""


def uniform(low: float, high: float) -> Draw:
    """Return a function that draws a number uniformly from ``[low, high)``."""
    _check_range(low, high)
    return lambda rng: float(rng.uniform(low, high))


def log_uniform(low: float, high: float) -> Draw:
    """Return a function that draws a number whose logarithm is uniform, as for learning rates.

    It is as likely to be between 0.001 and 0.01 as between 0.01 and 0.1. `low` must be above 0.
    """
    _check_range(low, high, above=0)
    return lambda rng: float(np.exp(rng.uniform(np.log(low), np.log(high))))


def integers(low: int, high: int) -> Draw:
    """Return a function that draws an integer from `low` to `high`, both included."""
    _check_range(low, high)
    bounds: list[Any] = [low, high]
    if not all(isinstance(bound, Integral) for bound in bounds):
        raise TypeError(f"the range is {low} to {high}, but must be one of integers")
    return lambda rng: int(rng.integers(low, high, endpoint=True))


def _check_range(low: float, high: float, above: float = -math.inf) -> None:
    if not above < low < high < math.inf:
        raise ValueError(
            f"the range is {low} to {high}, but must go from a lower number to a higher one"
            + (", both above 0" if above == 0 else "")
        )


def grid(space: Mapping[str, Sequence[Any]]) -> list[Config]:
    """Return every combination of the values; those of the last name change fastest.

    Parameters
    ----------
    space
        The list of values of each hyperparameter.

    Examples
    --------
    >>> grid({"learning_rate": [0.1, 0.01], "n_hidden": [8, 16]})[1]
    {'learning_rate': 0.1, 'n_hidden': 16}
    """
    _check_space(space)
    if drawn := [name for name, values in space.items() if callable(values)]:
        raise TypeError(f"a grid needs a list of values for {drawn}; ranges are for search.random")
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def random(space: Mapping[str, Sequence[Any] | Draw], n: int, *, rng: Generator) -> list[Config]:
    """Return `n` different configurations drawn at random.

    A grid with as many trials tries only a few values of each hyperparameter, random search tries
    `n`. That is better where some of them hardly matter, as is common (Bergstra and Bengio, 2012).

    Parameters
    ----------
    space
        For each hyperparameter a list to choose from, or a range: `uniform`, `log_uniform`,
        `integers`, or a function ``rng -> value`` of your own.
    n
        Number of configurations, at least 1.
    rng
        Source of random numbers. With the same seed, a longer search begins with a shorter one.

    Examples
    --------
    >>> random({"n_layers": integers(1, 3), "n_hidden": [8, 16]}, 2, rng=np.random.default_rng(0))
    [{'n_layers': 3, 'n_hidden': 16}, {'n_layers': 2, 'n_hidden': 8}]
    """
    _check_space(space)
    check_rng(rng)
    check_whole("n", n)
    lists = [values for values in space.values() if not callable(values)]
    only_lists = len(lists) == len(space)
    if only_lists:
        there_are = math.prod(len(set(map(repr, values))) for values in lists)
        if n > there_are:
            raise ValueError(f"n is {n}, but there are only {there_are} configurations")
    found: dict[str, Config] = {}
    missed = 0
    while len(found) < n:
        config = {
            name: values(rng) if callable(values) else values[int(rng.integers(len(values)))]
            for name, values in space.items()
        }
        missed = missed + 1 if repr(config) in found else 0
        if missed == 1000 + 20 * len(found) and not only_lists:
            raise ValueError(f"n is {n}, but there seem to be only {len(found)} configurations")
        found.setdefault(repr(config), config)
    return list(found.values())


def _check_space(space: Any) -> None:
    if not isinstance(space, Mapping) or not space:
        raise ValueError(f"the space is {space!r}, but must name at least one hyperparameter")
    for name, values in space.items():
        if not callable(values) and (not isinstance(values, list | tuple | range) or not values):
            raise ValueError(
                f"{name!r} is {values!r}, but must be a list with at least one value, or for "
                "search.random a range such as search.log_uniform(1e-4, 1)"
            )


def checked_configs(configs: Iterable[Config]) -> list[Config]:
    """Return the configurations as JSON gives them back: those of a resumed search are equal."""
    checked: dict[str, Config] = {}
    for index, config in enumerate(configs):
        if not isinstance(config, Mapping) or not all(isinstance(name, str) for name in config):
            raise TypeError(f"config {index} is {config!r}, but must be a dictionary with names")
        if taken := set(config) & set(RESERVED):
            raise ValueError(
                f"no hyperparameter can be called {taken}: these are columns of the table"
            )
        try:
            text = json.dumps(config, default=plain)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"config {index} cannot be stored as JSON ({error}): give numbers, strings, "
                "booleans, None, and lists or dictionaries of them, for example the name of a "
                f"function in place of the function. It is {config!r}"
            ) from None
        key = json.dumps(json.loads(text), sort_keys=True)
        if key in checked:
            first = list(checked).index(key)
            raise ValueError(
                f"configs {first} and {index} are the same, {text}: "
                "to repeat a trial, let the configurations differ in a 'seed' that train uses"
            )
        checked[key] = json.loads(text)
    if not checked:
        raise ValueError("configs is empty: there is nothing to run")
    return list(checked.values())
