"""Finished trials: the best one, means over seeds, the table."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESERVED = ("index", "seconds", "error")
"""Columns of the table that no hyperparameter and no metric can have."""


@dataclass(frozen=True)
class Trial:
    """One configuration and its result.

    Attributes
    ----------
    index : int
        Its index in the list of configurations.
    config, metrics : dict
        What the function was given, and what it returned; empty if it failed.
    seconds : float
        Time spent.
    error, traceback : str
        Why it failed, in one line and in full; empty if it did not.
    """

    index: int
    config: dict[str, Any]
    metrics: dict[str, Any]
    seconds: float
    error: str = ""
    traceback: str = ""


def best(trials: Iterable[Trial], metric: str, *, lowest: bool = True) -> Trial:
    """Return the trial with the lowest, or the highest, finite value of a metric.

    Parameters
    ----------
    trials
        What `run` or `average` returned.
    metric
        A key of the dictionaries that ``train`` returned.
    lowest
        Whether the lowest value is the best one. Default: True.

    Raises
    ------
    ValueError
        If no trial has a finite value.
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


def average(trials: Iterable[Trial], *, over: str = "seed") -> list[Trial]:
    """Return one trial for all that differ only in `over`, with the means of their metrics.

    The best of many noisy results is partly luck; the best mean is less so.

    Parameters
    ----------
    trials
        For example of ``[{**config, "seed": s} for config in configs for s in range(3)]``.
    over
        The hyperparameter to average over.

    Returns
    -------
    list of Trial
        Each with the first index of its group and the sum of its seconds. Metrics that are not
        numbers are left out. If one trial of a group failed, the group has failed.

    Examples
    --------
    >>> trials = [Trial(i, {"learning_rate": 0.1, "seed": i}, {"loss": i}, 1.0) for i in range(3)]
    >>> average(trials)
    [Trial(index=0, config={'learning_rate': 0.1}, metrics={'loss': 1.0}, seconds=3.0, ...)]
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
    """Return a number, string or None as it is, and NumPy's numbers as Python's."""
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
