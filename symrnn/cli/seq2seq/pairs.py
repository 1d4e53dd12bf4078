"""The pairs of a sequence-to-sequence training: from files, or from a task."""

import hashlib
from typing import Any

import numpy as np

from symrnn.cli.progress import say
from symrnn.cli.sources import check_unchanged
from symrnn.tasks.dates import dates
from symrnn.tasks.strings import copying, decimal_addition, reversal, sorting
from symrnn.text import Pair, read_pairs, split_pairs

MODEL = "seq2seq.safetensors"
TASKS: dict[str, Any] = {
    "addition": decimal_addition,
    "copying": copying,
    "dates": dates,
    "reversal": reversal,
    "sorting": sorting,
}


def pairs_of(source: dict[str, Any]) -> tuple[list[Pair], list[Pair]]:
    """Return pairs for training and for validation, as the `source` of a run says.

    They have no source text in common; where files do, the user is told how many.
    """
    if source["task"] is not None:
        training, validation = TASKS[source["task"]](rng=np.random.default_rng(source["seed"]))
    elif source["validation"]:
        training, validation = read(source["pairs"], source), read(source["validation"], source)
        known = {text for text, _ in training}
        if n_shared := sum(text in known for text, _ in validation):
            say(
                f"{n_shared:,} of {len(validation):,} sources in {source['validation']} are also "
                "in the training pairs: they say nothing about new ones"
            )
    else:
        training, validation = _held_out(read(source["pairs"], source), source)
    checksum = hashlib.sha256(repr([*training, *validation]).encode()).hexdigest()
    found = [len(training), len(validation), checksum]
    check_unchanged(source, found, what=f"the pairs of {source['pairs'] or source['task']}")
    return training, validation


def read(path: str, source: dict[str, Any]) -> list[Pair]:
    """Return the pairs of a file, written as those of the run."""
    return read_pairs(path, separator=source["separator"], encoding=source["encoding"])


def _held_out(pairs: list[Pair], source: dict[str, Any]) -> tuple[list[Pair], list[Pair]]:
    n = source["held_out"]
    n = min(5000, max(1, len(pairs) // 10)) if n is None else n
    try:
        return split_pairs(pairs, n, rng=np.random.default_rng(source["seed"]))
    except ValueError as error:
        raise ValueError(
            f"too few pairs to hold some out ({error}): --held-out N says how many, "
            "--validation FILE gives others"
        ) from error
