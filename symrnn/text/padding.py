"""Batches of pairs: sequences of differing length side by side, with padding and masks.

`symrnn.text.pairs` has an example from a file to a batch.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, DTypeLike, NDArray

from symrnn._validate import check_rng, check_sizes
from symrnn.text.tokens import EOS

POOL = 50
"""With ``by_length``, pairs are sorted within pools of so many batches."""


class PairBatch(NamedTuple):
    """Pairs as arrays, time first."""

    source: NDArray[np.int64]
    """Token numbers, ``(source time, batch)``; 0 where there is only padding."""
    source_mask: NDArray[np.bool_]
    """Where there are tokens, ``(source time, batch)``."""
    target: NDArray[np.int64]
    """Token numbers and ``<eos>`` after the last, ``(target time, batch)``."""
    target_mask: NDArray[np.bool_]
    """Where there are tokens, ``<eos>`` among them, ``(target time, batch)``."""


def padded(
    sequences: Sequence[ArrayLike], *, dtype: DTypeLike = np.int64
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Put sequences of differing length side by side, with zeros below the shorter ones.

    Parameters
    ----------
    sequences
        Each of shape ``(time,)``.
    dtype
        Of the array.

    Returns
    -------
    array : array of shape (time, batch)
        One sequence a column, as long as the longest.
    mask : array of bool of shape (time, batch)
        True where the sequences are, False for padding.

    Raises
    ------
    ValueError
        If there is no sequence, or one has not one axis.
    TypeError
        If a sequence would not fit the dtype, such as 1.7 a whole number.

    Examples
    --------
    >>> array, mask = padded([[1, 2, 3], [4]])
    >>> array.tolist()
    [[1, 4], [2, 0], [3, 0]]
    >>> mask.T.tolist()
    [[True, True, True], [True, False, False]]
    """
    columns = [np.asarray(sequence) for sequence in sequences]
    shapes = {column.shape for column in columns if column.ndim != 1}
    if not columns or shapes:
        raise ValueError(
            f"of {len(columns)} sequences some have shape {shapes or '()'}, but there must be at "
            "least one, and each must have shape (time,)"
        )
    for k, column in enumerate(columns):
        if column.size and not np.can_cast(column.dtype, dtype, "same_kind"):
            raise TypeError(
                f"sequence {k} is {column.dtype}, but must be {np.dtype(dtype)}: numbers of tokens "
                "are whole, and for others give dtype=float"
            )
    lengths = np.array([len(column) for column in columns])
    mask = np.arange(lengths.max())[:, None] < lengths
    array = np.zeros(mask.shape, dtype)
    array.T[mask.T] = np.concatenate(columns)
    return array, mask


def pair_batches(
    sources: Sequence[ArrayLike],
    targets: Sequence[ArrayLike],
    *,
    batch_size: int,
    eos: int | None,
    rng: Generator | None = None,
    by_length: bool = False,
) -> "PairBatches":
    """Make batches of pairs for models that read a source and write a target.

    Every target ends with ``<eos>``, which is put there. What a decoder is given at step t is the
    target's token at step t - 1, and a start token at first: the model itself shifts the target
    so, and here it is not shifted.

    Parameters
    ----------
    sources, targets
        Token numbers of each source and its target, arrays of shape ``(time,)`` of any length, as
        `PairVocabularies.encode` returns them. No source is empty.
    batch_size
        Pairs in a batch, at least 1; a last batch holds what is left.
    eos
        The number of ``<eos>`` among the targets' tokens.
    rng
        Source of a new random order each time that the batches are gone through. Default: always
        the order given, which is what one wants to test a model.
    by_length
        Put pairs of similar length together, so that there is less padding: the pairs, in random
        order, are cut into pools of 50 batches; each pool is sorted by the lengths of sources and
        targets and cut into batches; and the batches are shuffled. Without `rng` nothing is
        shuffled, but pools are sorted.

    Returns
    -------
    Sequence of PairBatch
        Tuples ``(source, source_mask, target, target_mask)``, each of shape ``(time, batch)``;
        int64 and bool. It can be gone through many times, as `symrnn.training.loop.train` does, and
        knows its length. An index gives a batch in the order of the last time.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or a target holds ``<eos>`` already.

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


class PairBatches(Sequence[PairBatch]):
    """The batches that `pair_batches` returns; each is made when it is asked for."""

    def __init__(
        self,
        sources: Sequence[ArrayLike],
        targets: Sequence[ArrayLike],
        *,
        batch_size: int,
        eos: int | None,
        rng: Generator | None = None,
        by_length: bool = False,
    ) -> None:
        check_sizes(batch_size=batch_size)
        if not isinstance(eos, int | np.integer):
            raise TypeError(
                f"eos is {eos!r}, but must be the number of {EOS}, for example vocabulary.eos of "
                "the targets' vocabulary"
            )
        if rng is not None:
            check_rng(rng)
        if len(sources) != len(targets) or not len(sources):
            raise ValueError(
                f"there are {len(sources)} sources and {len(targets)} targets, but each source "
                "must have a target, and there must be at least one"
            )
        self._sources = [_numbers(s, f"source {k}") for k, s in enumerate(sources)]
        self._targets = [_numbers(t, f"target {k}") for k, t in enumerate(targets)]
        for k, (source, target) in enumerate(zip(self._sources, self._targets, strict=True)):
            if not len(source):
                raise ValueError(f"source {k} is empty, but a model must have something to read")
            if eos in target:
                raise ValueError(
                    f"target {k} holds {eos}, the number of {EOS}, which is put at its end here: "
                    "give targets without it"
                )
        self._targets = [np.append(target, eos) for target in self._targets]
        self.batch_size, self.rng, self.by_length = batch_size, rng, by_length
        self._parts = self._cut(np.arange(len(self._targets)))

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def longest(self) -> tuple[int, int]:
        """How many tokens the longest source and the longest target have, without ``<eos>``."""
        return max(map(len, self._sources)), max(map(len, self._targets)) - 1

    def __iter__(self) -> Iterator[PairBatch]:
        """Go through all pairs once, in a new order if there is a source of it."""
        if self.rng is not None:
            self.shuffle(self.rng)
        return map(self._batch, self._parts)

    def shuffle(self, rng: Generator) -> None:
        """Put the pairs in a new order."""
        self._parts = self._cut(rng.permutation(len(self._targets)))
        if self.by_length:
            self._parts = [self._parts[k] for k in rng.permutation(len(self._parts))]

    @overload
    def __getitem__(self, index: int) -> PairBatch: ...
    @overload
    def __getitem__(self, index: slice) -> list[PairBatch]: ...
    def __getitem__(self, index: int | slice) -> PairBatch | list[PairBatch]:
        """Return one batch, or a list of several, in the order of the last time."""
        if isinstance(index, slice):
            return list(map(self._batch, self._parts[index]))
        return self._batch(self._parts[index])

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return which pairs are in which batch."""
        if self.by_length:
            lengths = np.array([(len(self._targets[k]), len(self._sources[k])) for k in order])
            size = POOL * self.batch_size
            pools = range(0, len(order), size)
            order = np.concatenate(
                [order[k : k + size][np.lexsort(lengths[k : k + size].T)] for k in pools]
            )
        starts = range(0, len(order), self.batch_size)
        return [order[k : k + self.batch_size] for k in starts]

    def _batch(self, part: NDArray[np.int64]) -> PairBatch:
        source, source_mask = padded([self._sources[k] for k in part])
        target, target_mask = padded([self._targets[k] for k in part])
        return PairBatch(source, source_mask, target, target_mask)


def _numbers(tokens: ArrayLike, name: str) -> NDArray[np.int64]:
    numbers = np.asarray(tokens)
    if numbers.ndim != 1:
        raise ValueError(f"{name} has shape {numbers.shape}, but must have shape (time,)")
    if numbers.size and numbers.dtype.kind not in "iu":
        raise TypeError(
            f"{name} is {numbers.dtype}, but must be whole numbers: vocabulary.encode(...)"
        )
    return numbers.astype(np.int64)
