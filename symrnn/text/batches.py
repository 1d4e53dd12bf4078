"""Batches of token numbers for language models: x, and t, the token that follows each.

All take arrays that are mapped into memory, such as `encode_files` returns, and read only what a
batch needs. All return int64 arrays of shape ``(time, batch)``.
"""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_rng, check_sizes

Tokens = NDArray[Any]
Batch = tuple[NDArray[np.int64], NDArray[np.int64]]


def split(tokens: Tokens, fractions: Sequence[float] = (0.8, 0.1, 0.1)) -> tuple[Tokens, ...]:
    """Cut a corpus into parts that follow one another: training, validation, test.

    Parameters
    ----------
    tokens
        Token numbers of shape ``(tokens,)``.
    fractions
        Size of each part; they are positive and their sum is 1.

    Returns
    -------
    tuple of arrays
        The parts, views of `tokens`: every token is in one of them. Part k ends after
        ``round(n * (fractions[0] + ... + fractions[k]))`` tokens.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or the corpus is so short that a part would be empty.

    Examples
    --------
    >>> [part.tolist() for part in split(np.arange(10), (0.7, 0.2, 0.1))]
    [[0, 1, 2, 3, 4, 5, 6], [7, 8], [9]]
    """
    tokens = checked_tokens(tokens)
    if not fractions or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(
            f"the fractions are {tuple(fractions)}, but must be positive and their sum 1, for "
            "example (0.8, 0.1, 0.1)"
        )
    ends = [round(len(tokens) * float(sum(fractions[: k + 1]))) for k in range(len(fractions))]
    parts = tuple(tokens[a:b] for a, b in zip([0, *ends], ends, strict=False))
    if not all(map(len, parts)):
        raise ValueError(
            f"{len(tokens)} tokens are too few for parts of {tuple(fractions)}: their sizes would "
            f"be {tuple(map(len, parts))}"
        )
    return parts


def streams(tokens: Tokens, *, batch_size: int, n_steps: int) -> "Streams":
    """Make batches for truncated backpropagation through time (Williams and Peng, 1990).

    The corpus is cut into `batch_size` rows that follow one another, each of
    ``L = (len(tokens) - 1) // batch_size`` steps. Each batch goes on in every row where the one
    before it ended, so a state carried from batch to batch fits:

    ``x[k] = tokens[b L + s : b L + s + n_steps]`` for row b, with s = k n_steps, and t the same
    one token later.

    The last batch is shorter if `n_steps` does not divide L. So in one pass every token but the
    first is predicted exactly once, except the last ``(len(tokens) - 1) % batch_size``, which are
    left out.

    Parameters
    ----------
    tokens
        Token numbers of shape ``(tokens,)``.
    batch_size
        How many rows, at least 1.
    n_steps
        Steps in a batch, at least 1.

    Returns
    -------
    Sequence of (x, t)
        It can be gone through many times, as `symrnn.training.loop.train` does, and knows its length.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or the rows would be shorter than `n_steps`.

    Examples
    --------
    >>> for x, t in streams(np.arange(12), batch_size=2, n_steps=3):
    ...     print(x.T.tolist(), t.T.tolist())
    [[0, 1, 2], [5, 6, 7]] [[1, 2, 3], [6, 7, 8]]
    [[3, 4], [8, 9]] [[4, 5], [9, 10]]
    """
    return Streams(tokens, batch_size=batch_size, n_steps=n_steps)


class Streams(Sequence[Batch]):
    """The batches that `streams` returns; each is made when it is asked for."""

    def __init__(self, tokens: Tokens, *, batch_size: int, n_steps: int) -> None:
        tokens = checked_tokens(tokens, batch_size=batch_size, n_steps=n_steps)
        self.n_steps, self.row_length = n_steps, (len(tokens) - 1) // batch_size
        if self.row_length < n_steps:
            raise ValueError(
                f"{len(tokens)} tokens in {batch_size} rows give {max(self.row_length, 0)} steps "
                f"each, fewer than the {n_steps} of a batch: take a longer text, fewer rows or "
                "fewer steps"
            )
        n = batch_size * self.row_length
        self._x = tokens[:n].reshape(batch_size, -1)
        self._t = tokens[1 : n + 1].reshape(batch_size, -1)

    def __len__(self) -> int:
        return -(-self.row_length // self.n_steps)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        """Return one batch, or a list of several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start = range(len(self))[index] * self.n_steps
        steps = slice(start, start + self.n_steps)
        return _batch(self._x[:, steps], self._t[:, steps])


def windows(tokens: Tokens, *, n_samples: int, n_steps: int, rng: Generator) -> Batch:
    """Draw random windows of a corpus, each start equally likely.

    Parameters
    ----------
    tokens
        Token numbers of shape ``(tokens,)``.
    n_samples, n_steps
        How many windows, and of how many steps, each at least 1.
    rng
        Source of the starts.

    Returns
    -------
    x, t : arrays of shape (n_steps, n_samples)
        Tokens, and those that follow them, int64.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or the text is shorter than a window and the token after it.

    Examples
    --------
    >>> x, t = windows(np.arange(100), n_samples=2, n_steps=3, rng=np.random.default_rng(1))
    >>> x.T.tolist(), t.T.tolist()
    ([[45, 46, 47], [49, 50, 51]], [[46, 47, 48], [50, 51, 52]])
    """
    tokens = checked_tokens(tokens, rng, n_samples=n_samples, n_steps=n_steps)
    _check_window(tokens, n_steps)
    starts = rng.integers(len(tokens) - n_steps, size=n_samples)
    return _from_starts(tokens, starts, n_steps)


def shuffled_windows(
    tokens: Tokens, *, batch_size: int, n_steps: int, rng: Generator
) -> Iterator[Batch]:
    """Cut a corpus into windows and yield them all once, in random order: one epoch.

    The windows follow one another from the first token; fewer than ``n_steps + 1`` tokens at the
    end are left out. The last batch holds the windows that are left.

    Parameters
    ----------
    tokens
        Token numbers of shape ``(tokens,)``.
    batch_size, n_steps
        How many windows in a batch, and of how many steps, each at least 1.
    rng
        Source of the order.

    Returns
    -------
    Iterator of (x, t)
        Each of shape ``(n_steps, batch)``, int64.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or the text is shorter than a window and the token after it.

    Examples
    --------
    >>> batches = shuffled_windows(np.arange(11), batch_size=2, n_steps=3, rng=np.random.default_rng(1))
    >>> [x.T.tolist() for x, t in batches]
    [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8]]]
    """
    tokens = checked_tokens(tokens, rng, batch_size=batch_size, n_steps=n_steps)
    _check_window(tokens, n_steps)
    starts = n_steps * rng.permutation((len(tokens) - 1) // n_steps)
    return (
        _from_starts(tokens, starts[k : k + batch_size], n_steps)
        for k in range(0, len(starts), batch_size)
    )


def documents(tokens: Tokens, end: int | None, *, rng: Generator | None = None) -> list[Tokens]:
    """Cut a corpus after every token `end`, such as ``<eos>``; shuffle the parts if asked to.

    Parameters
    ----------
    tokens
        Token numbers of shape ``(tokens,)``.
    end
        The number of the token that ends a sentence or document.
    rng
        Source of a random order. Default: the order in the corpus.

    Returns
    -------
    list of arrays
        Views of `tokens`; all but perhaps the last one of the corpus end with `end`.
        `numpy.concatenate` makes a corpus of them again.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or there are no tokens.

    Examples
    --------
    >>> [part.tolist() for part in documents(np.array([5, 6, 0, 7, 0, 8]), end=0)]
    [[5, 6, 0], [7, 0], [8]]
    """
    tokens = checked_tokens(tokens, rng)
    if not isinstance(end, int | np.integer):
        raise TypeError(
            f"end is {end!r}, but must be the number of a token, for example vocabulary.eos of a "
            "vocabulary that has <eos>"
        )
    pieces = range(0, len(tokens), 2**20)  # so that the comparison needs little memory
    found = [k + 1 + np.flatnonzero(tokens[k : k + 2**20] == end) for k in pieces]
    ends = np.unique(np.concatenate([*found, [len(tokens)]])).tolist()
    parts = [tokens[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    return parts if rng is None else [parts[k] for k in rng.permutation(len(parts))]


def _from_starts(tokens: Tokens, starts: NDArray[np.int64], n_steps: int) -> Batch:
    taken = tokens[starts[:, None] + np.arange(n_steps + 1)]
    return _batch(taken[:, :-1], taken[:, 1:])


def _batch(x: Tokens, t: Tokens) -> Batch:
    """Return rows of the corpus as time-major int64 arrays."""
    return np.array(x.T, np.int64, order="C"), np.array(t.T, np.int64, order="C")


def checked_tokens(tokens: Any, rng: Generator | None = None, **sizes: Any) -> Tokens:
    """Return the tokens of a text if they and what they are used with are as they must be."""
    if not isinstance(tokens, np.ndarray) or tokens.dtype.kind not in "iu":
        kind = getattr(tokens, "dtype", type(tokens).__name__)
        raise TypeError(
            f"the tokens are {kind}, but must be an array of whole numbers: vocabulary.encode(...)"
        )
    if tokens.ndim != 1 or not tokens.size:
        raise ValueError(
            f"the tokens have shape {tokens.shape}, but must have one axis and not be empty"
        )
    if rng is not None:
        check_rng(rng)
    check_sizes(**sizes)
    return tokens


def _check_window(tokens: Tokens, n_steps: int) -> None:
    if len(tokens) < n_steps + 1:
        raise ValueError(
            f"the text has {len(tokens)} tokens, but a window of {n_steps} steps and the token "
            f"after it need {n_steps + 1}: take a longer text or fewer steps"
        )
