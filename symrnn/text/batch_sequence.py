"""Sequences of batches, each made when it is asked for."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_rng, check_sizes

B = TypeVar("B", covariant=True)


class BatchSequence(Sequence[B]):
    """Batches by index and slice; a subclass says how many there are, and makes the k-th."""

    @overload
    def __getitem__(self, index: int) -> B: ...
    @overload
    def __getitem__(self, index: slice) -> list[B]: ...
    def __getitem__(self, index: int | slice) -> B | list[B]:
        """Return one batch, or a list of several."""
        found = range(len(self))[index]
        return [self._batch(k) for k in found] if isinstance(found, range) else self._batch(found)

    @abstractmethod
    def _batch(self, k: int) -> B:
        """Make batch k, from 0."""


class ShuffledBatches(BatchSequence[B]):
    """Batches of examples, in a new random order in each epoch.

    Without `rng` the order is always the one given. An index gives a batch in the order of the
    current epoch.
    """

    def __init__(self, n_examples: int, *, batch_size: int, rng: Generator | None) -> None:
        check_sizes(batch_size=batch_size)
        if rng is not None:
            check_rng(rng)
        self.n_examples, self.batch_size, self.rng = n_examples, batch_size, rng
        self._parts = self._cut(np.arange(n_examples))

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[B]:
        """Begin an epoch: shuffle if there is an `rng`, and go through all examples once."""
        if self.rng is not None:
            self.shuffle(self.rng)
        return map(self._of, self._parts)

    def shuffle(self, rng: Generator) -> None:
        """Put the examples in a new random order."""
        self._parts = self._cut(rng.permutation(self.n_examples))

    def _batch(self, k: int) -> B:
        return self._of(self._parts[k])

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return which examples are in which batch, of examples in this order."""
        return [order[k : k + self.batch_size] for k in range(0, len(order), self.batch_size)]

    @abstractmethod
    def _of(self, part: NDArray[Any]) -> B:
        """Make a batch of these examples."""
