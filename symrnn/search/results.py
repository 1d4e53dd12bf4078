"""Finished trials: the best of them, their means, and all as a table."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESERVED = ("index", "seconds", "error")
"""Columns of the table that no hyper-parameter and no metric can have."""


@dataclass(frozen=True)
class Trial:
    """One call of the function.

    Attributes
    ----------
    index : int
        Its place in the list of configurations.
    config, metrics : dict
        What the function was given, and what it returned; empty if it failed.
    seconds : float
        Time spent.
    error, traceback : str
        Why it failed, in a line and at length; empty if it did not.
    """

    index: int
    config: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float
    error: str = ""
    traceback: str = ""


def best(trials: Iterable[Trial], metric: str, lowest: bool = True) -> Trial:
    """Return the trial with the lowest, or the highest, finite value of a metric.

    Raises
    ------
    ValueError
        If no trial has one.
    """
    trials = list(trials)
    fit = [t for t in trials if is_finite(t.metrics.get(metric))]
    if not fit:
        errors = [t.error for t in trials if t.error]
        raise ValueError(
            f"none of {len(trials)} trials has a finite number as its metric {metric!r}: "
            f"their metrics are {sorted({name for t in trials for name in t.metrics})}"
            + (f", and {len(errors)} failed, the first with {errors[0]}" if errors else "")
        )
    return (min if lowest else max)(fit, key=lambda t: float(t.metrics[metric]))


def average(trials: Iterable[Trial], over: str = "seed") -> list[Trial]:
    """Return one trial for all that differ only in `over`, with the means of their metrics.

    The best of many noisy results is a lucky one; the best mean is less so.

    Parameters
    ----------
    trials
        For example of ``[{**config, "seed": s} for config in configs for s in range(3)]``.
    over
        The hyper-parameter that is averaged over.

    Returns
    -------
    list of Trial
        With the first index of each group, and the sum of its seconds. Metrics that are no numbers
        are left out. If one of a group failed, so has the group.

    Raises
    ------
    ValueError
        If a trial has no such hyper-parameter.

    Examples
    --------
    >>> trials = [Trial(i, {"rate": 0.1, "seed": i}, {"loss": i}, 1.0) for i in range(3)]
    >>> average(trials)
    [Trial(index=0, config={'rate': 0.1}, metrics={'loss': 1.0}, seconds=3.0, error='', ...)]
    """
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if over not in trial.config:
            raise ValueError(f"trial {trial.index} has no {over!r}, only {list(trial.config)}")
        groups.setdefault(json.dumps(_without(trial, over), sort_keys=True), []).append(trial)
    means = []
    for first, *others in groups.values():
        group = [first, *others]
        failed = next((t for t in group if t.error), first)
        means.append(
            Trial(
                first.index,
                _without(first, over),
                {} if failed.error else _means([t.metrics for t in group]),
                sum(t.seconds for t in group),
                failed.error,
                failed.traceback,
            )
        )
    return means


def _without(trial: Trial, name: str) -> dict[str, Any]:
    return {key: value for key, value in trial.config.items() if key != name}


def _means(metrics: list[dict[str, Any]]) -> dict[str, float]:
    return {
        name: float(np.mean([m[name] for m in metrics]))
        for name in metrics[0]
        if all(isinstance(m.get(name), int | float) for m in metrics)
    }


def is_finite(value: Any) -> bool:
    """Whether something is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def plain(value: Any) -> Any:
    """Return a number, string or None as it is, and NumPy's numbers as those of Python.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{value!r} is of type {type(value).__name__}, not a number or a string")


def table(trials: Sequence[Trial]) -> str:
    """Return a CSV table with a row for each trial."""
    names = dict.fromkeys(name for t in trials for name in t.config)
    metrics = dict.fromkeys(name for t in trials for name in t.metrics)
    text = io.StringIO(newline="")
    column = {name: f"{name} (metric)" if name in names else name for name in metrics}
    writer = csv.DictWriter(text, ["index", *names, *column.values(), "seconds", "error"])
    writer.writeheader()
    for t in trials:
        values = {
            k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in t.config.items()
        }
        own = {"index": t.index, "seconds": round(t.seconds, 3), "error": t.error}
        writer.writerow({**values, **{column[k]: v for k, v in t.metrics.items()}, **own})
    return text.getvalue()
