"""Batches of pairs for models that read a source and write a target.

`symrnn.text.pairs` has an example from a file to a batch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_token_id
from symrnn.text.batch_sequence import ShuffledBatches
from symrnn.text.padding import checked_ids, padded

POOL = 50
"""With ``by_length``, pairs are sorted within pools of this many batches."""


class PairBatch(NamedTuple):
    """Pairs as arrays, time first."""

    source: NDArray[np.int64]
    """Token ids, ``(source time, batch)``; 0 in padding."""
    source_mask: NDArray[np.bool_]
    """True for tokens, False for padding, ``(source time, batch)``."""
    target: NDArray[np.int64]
    """Token ids, ``<eos>`` after the last, ``(target time, batch)``; 0 in padding."""
    target_mask: NDArray[np.bool_]
    """True for tokens, ``<eos>`` included, False for padding, ``(target time, batch)``."""


def pair_batches(
    sources: Sequence[ArrayLike],
    targets: Sequence[ArrayLike],
    *,
    batch_size: int,
    eos: int | None,
    rng: Generator | None = None,
    by_length: bool = False,
) -> "PairBatches":
    """Make padded batches of pairs for models that read a source and write a target.

    ``<eos>`` is appended to every target. Targets are not shifted: the decoder inputs (a start
    token, then the target's previous token) are made by the model.

    Parameters
    ----------
    sources, targets
        Token ids of each source and its target, arrays of shape ``(time,)`` of any length, as
        `PairVocabularies.encode` returns them. No source is empty.
    batch_size
        Pairs in a batch; the last batch holds those that are left.
    eos
        Token id of ``<eos>`` in the targets' vocabulary.
    rng
        Generator for a new random order in each epoch. Default: always the order given, for
        evaluation.
    by_length
        Batch pairs of similar length together, so that there is less padding: the pairs, in random
        order, are cut into pools of 50 batches; each pool is sorted by the lengths of targets and
        sources and cut into batches; and the batches are shuffled. Without `rng` nothing is
        shuffled, but pools are sorted.

    Returns
    -------
    Sequence of PairBatch
        Tuples ``(source, source_mask, target, target_mask)``, each of shape ``(time, batch)``,
        int64 and bool. It has a length and can be iterated over many times, once per epoch, as
        `symrnn.train` does. An index gives a batch in the order of the current epoch.

    Examples
    --------
    >>> batches = pair_batches([[5, 6, 7], [8]], [[1], [2, 3]], batch_size=2, eos=0)
    >>> for source, source_mask, target, target_mask in batches:
    ...     print(source.T.tolist(), target.T.tolist())
    ...     print(source_mask.sum(0).tolist(), target_mask.sum(0).tolist())
    [[5, 6, 7], [8, 0, 0]] [[1, 0, 0], [2, 3, 0]]
    [3, 1] [2, 3]
    """
    return PairBatches(
        sources, targets, batch_size=batch_size, eos=eos, rng=rng, by_length=by_length
    )


class PairBatches(ShuffledBatches[PairBatch]):
    """The batches that `pair_batches` returns; each is made when it is asked for."""

    def __init__(
        self,
        sources: Sequence[ArrayLike],
        targets: Sequence[ArrayLike],
        *,
        batch_size: int,
        eos: Any,
        rng: Generator | None = None,
        by_length: bool = False,
    ) -> None:
        check_token_id("eos", eos)
        if len(sources) != len(targets) or not len(sources):
            raise ValueError(
                f"there are {len(sources)} sources and {len(targets)} targets, but each source "
                "must have a target, and there must be at least one"
            )
        self._sources = [checked_ids(s, f"source {k}") for k, s in enumerate(sources)]
        for k, source in enumerate(self._sources):
            if not len(source):
                raise ValueError(f"source {k} is empty, but a model must have something to read")
        self._targets = [
            np.append(checked_ids(t, f"target {k}", eos=eos), eos) for k, t in enumerate(targets)
        ]
        self.by_length = by_length
        super().__init__(len(self._targets), batch_size=batch_size, rng=rng)

    @property
    def longest(self) -> tuple[int, int]:
        """How many tokens the longest source and the longest target have, without ``<eos>``."""
        return max(map(len, self._sources)), max(map(len, self._targets)) - 1

    def shuffle(self, rng: Generator) -> None:
        """Put the pairs in a new random order; with `by_length`, the batches too."""
        super().shuffle(rng)
        if self.by_length:
            self._parts = [self._parts[k] for k in rng.permutation(len(self._parts))]

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        if self.by_length:
            lengths = np.array([(len(self._targets[k]), len(self._sources[k])) for k in order])
            size = POOL * self.batch_size
            pools = range(0, len(order), size)
            order = np.concatenate(
                [order[k : k + size][np.lexsort(lengths[k : k + size].T)] for k in pools]
            )
        return super()._cut(order)

    def _of(self, part: NDArray[Any]) -> PairBatch:
        source, source_mask = padded([self._sources[k] for k in part])
        target, target_mask = padded([self._targets[k] for k in part])
        return PairBatch(source, source_mask, target, target_mask)
