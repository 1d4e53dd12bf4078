"""Batches of token ids for language models: x, and the targets t, the token that follows each.

All take memory-mapped arrays, such as `encode_files` returns, and read only what a batch needs. All
return int64 arrays of shape ``(time, batch)``.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_rng, check_sizes, check_token_id
from symrnn.text.batch_sequence import BatchSequence

Tokens = NDArray[Any]
Batch = tuple[NDArray[np.int64], NDArray[np.int64]]


def split(tokens: Tokens, fractions: Sequence[float] = (0.8, 0.1, 0.1)) -> tuple[Tokens, ...]:
    """Cut a corpus into consecutive parts: training, validation, test.

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``.
    fractions
        Size of each part as a fraction of the corpus; positive, and their sum is 1.

    Returns
    -------
    tuple of arrays
        The parts, views of `tokens`, none empty: every token is in one of them. Part k ends after
        ``round(n * (fractions[0] + ... + fractions[k]))`` tokens.

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

    The corpus is cut into `batch_size` consecutive batch streams of ``L = (len(tokens) - 1) //
    batch_size`` steps. Each batch continues every stream where the batch before it ended, so a
    carried state fits:

    ``x[k] = tokens[b L + s : b L + s + n_steps]`` for stream b, with s = k n_steps, and t the same
    one token later.

    The last batch is shorter if `n_steps` does not divide L. So in one epoch every token but the
    first is predicted exactly once, except the last ``(len(tokens) - 1) % batch_size``, which are
    left out.

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``.
    batch_size
        Number of batch streams.
    n_steps
        Steps in a batch, at most L.

    Returns
    -------
    Sequence of (x, t)
        Each of shape ``(time, batch)``. It has a length and can be iterated over many times, once
        per epoch, as `symrnn.train` does.

    Examples
    --------
    >>> for x, t in streams(np.arange(12), batch_size=2, n_steps=3):
    ...     print(x.T.tolist(), t.T.tolist())
    [[0, 1, 2], [5, 6, 7]] [[1, 2, 3], [6, 7, 8]]
    [[3, 4], [8, 9]] [[4, 5], [9, 10]]
    """
    return Streams(tokens, batch_size=batch_size, n_steps=n_steps)


class Streams(BatchSequence[Batch]):
    """The batches that `streams` returns; each is made when it is asked for."""

    def __init__(self, tokens: Tokens, *, batch_size: int, n_steps: int) -> None:
        tokens = checked_tokens(tokens, batch_size=batch_size, n_steps=n_steps)
        self.n_steps, self.stream_length = n_steps, (len(tokens) - 1) // batch_size
        if self.stream_length < n_steps:
            raise ValueError(
                f"{len(tokens)} tokens in {batch_size} batch streams give "
                f"{max(self.stream_length, 0)} steps each, fewer than n_steps, {n_steps}: take a "
                "longer text, a smaller batch_size or fewer steps"
            )
        n = batch_size * self.stream_length
        self._x = tokens[:n].reshape(batch_size, -1)
        self._t = tokens[1 : n + 1].reshape(batch_size, -1)

    def __len__(self) -> int:
        return -(-self.stream_length // self.n_steps)

    def _batch(self, k: int) -> Batch:
        steps = slice(k * self.n_steps, (k + 1) * self.n_steps)
        return _time_major(self._x[:, steps], self._t[:, steps])


def windows(tokens: Tokens, *, n_samples: int, n_steps: int, rng: Generator) -> Batch:
    """Draw random windows of a corpus, each start equally likely.

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``.
    n_samples, n_steps
        Number of windows, and of steps in each.
    rng
        Generator that draws the starts.

    Returns
    -------
    x, t : arrays of shape (n_steps, n_samples)
        Tokens, and those that follow them, int64.

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

    There are ``(len(tokens) - 1) // n_steps`` windows, consecutive from the first token; what does
    not fill a window and the token after it is left out. The last batch holds the windows that are
    left.

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``.
    batch_size, n_steps
        Number of windows in a batch, and of steps in each.
    rng
        Generator that draws the order.

    Returns
    -------
    Iterator of (x, t)
        Each of shape ``(n_steps, batch)``, int64.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> batches = shuffled_windows(np.arange(11), batch_size=2, n_steps=3, rng=rng)
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
    """Cut a corpus after every token `end`, such as ``<eos>``; with `rng`, shuffle the parts.

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``.
    end
        Token id that ends a sentence or document, such as ``vocabulary.eos``.
    rng
        Generator that draws the order of the parts. Default: the order in the corpus.

    Returns
    -------
    list of arrays
        Views of `tokens`; all but perhaps the last one of the corpus end with `end`.
        `numpy.concatenate` makes a corpus of them again.

    Examples
    --------
    >>> [part.tolist() for part in documents(np.array([5, 6, 0, 7, 0, 8]), end=0)]
    [[5, 6, 0], [7, 0], [8]]
    """
    tokens = checked_tokens(tokens, rng)
    check_token_id("end", end)
    pieces = range(0, len(tokens), 2**20)  # so that the comparison needs little memory
    found = [k + 1 + np.flatnonzero(tokens[k : k + 2**20] == end) for k in pieces]
    ends = np.unique(np.concatenate([*found, [len(tokens)]])).tolist()
    parts = [tokens[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    return parts if rng is None else [parts[k] for k in rng.permutation(len(parts))]


def _from_starts(tokens: Tokens, starts: NDArray[np.int64], n_steps: int) -> Batch:
    taken = tokens[starts[:, None] + np.arange(n_steps + 1)]
    return _time_major(taken[:, :-1], taken[:, 1:])


def _time_major(x: Tokens, t: Tokens) -> Batch:
    """Return slices of shape (batch, time) as time-major int64 arrays."""
    return np.array(x.T, np.int64, order="C"), np.array(t.T, np.int64, order="C")


def checked_tokens(tokens: Any, rng: Generator | None = None, **sizes: Any) -> Tokens:
    """Return token ids of shape ``(tokens,)``; it is an error if they are anything else."""
    if not isinstance(tokens, np.ndarray) or tokens.dtype.kind not in "iu":
        kind = getattr(tokens, "dtype", type(tokens).__name__)
        raise TypeError(
            f"the tokens are {kind}, but must be an array of token ids: vocabulary.encode(...)"
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
