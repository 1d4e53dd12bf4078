"""What word vectors are trained on: words and their contexts, and words drawn at random.

All is drawn for whole stretches of a text at once, in NumPy.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn.text.batches import checked_tokens

Ids = NDArray[np.int64]
PIECE = 2**16  # tokens that are taken at a time
NONE = -1
"""Stands in a context where there is no word."""


class AliasSampler:
    """Draws numbers with given probabilities, each in constant time (Walker, 1977; Vose, 1991).

    The numbers 0 ... n - 1 are put into n boxes of equal size. Where one is too rare to fill its
    box, a frequent one, the alias, fills up the rest. So a draw takes a box, and says which part of
    it was hit. To fill the boxes takes a time in proportion to n.

    Parameters
    ----------
    weights
        In proportion to the probabilities, shape ``(n,)``; 0 is never drawn. For negative samples
        ``counts ** 0.75`` (Mikolov et al., 2013b).

    Raises
    ------
    ValueError
        If they are not finite numbers, one is negative, or all are 0.

    Examples
    --------
    >>> sampler = AliasSampler([3, 0, 1])
    >>> sampler.draw((2, 5), rng=np.random.default_rng(1))
    array([[0, 0, 0, 0, 0],
           [0, 2, 0, 0, 0]])
    >>> sampler.probabilities()
    array([0.75, 0.  , 0.25])
    """

    def __init__(self, weights: ArrayLike) -> None:
        w = np.asarray(weights, dtype=np.float64)
        if w.ndim != 1 or not np.isfinite(w).all() or (w < 0).any() or not w.any():
            raise ValueError(
                "the weights must be a row of finite numbers, none negative and not all 0, for "
                f"example counts ** 0.75, but have shape {w.shape} and are {w}"
            )
        share = w / w.sum() * len(w)  # 1 fills a box
        self._part, self._alias = np.ones(len(w)), np.arange(len(w))
        left = share.tolist()
        small = [k for k, value in enumerate(left) if value < 1]
        large = [k for k, value in enumerate(left) if value >= 1]
        while small and large:
            k, filler = small.pop(), large[-1]
            self._part[k], self._alias[k] = left[k], filler
            left[filler] -= 1 - left[k]
            if left[filler] < 1:
                small.append(large.pop())
        for k in small:  # full up to rounding; what has weight 0 must not be drawn for all that
            if w[k] == 0:
                self._part[k], self._alias[k] = 0, int(w.argmax())

    def __len__(self) -> int:
        return len(self._part)

    def draw(self, shape: int | Sequence[int], *, rng: Generator) -> Ids:
        """Return numbers of the given shape, int64."""
        where = rng.random(shape) * len(self)
        box = where.astype(np.int64)
        return np.where(where - box < self._part[box], box, self._alias[box])

    def probabilities(self) -> NDArray[np.float64]:
        """Return the probabilities with which the boxes draw, shape ``(n,)``."""
        n = len(self)
        return (self._part + np.bincount(self._alias, 1 - self._part, minlength=n)) / n


def keep_probabilities(counts: ArrayLike, *, threshold: float = 1e-3) -> NDArray[np.float64]:
    """How probably an occurrence of each word is kept, ``min(1, sqrt(threshold / f))``.

    f is the word's share of the text. Frequent words say little about their neighbours, and take
    most of the time (Mikolov et al., 2013b).

    Parameters
    ----------
    counts
        How often each word occurs, shape ``(words,)``.
    threshold
        Words with a larger share are thinned out: 1e-5 to 1e-3, the larger the shorter the text.

    Raises
    ------
    ValueError
        If `threshold` is not positive; if the counts are not a row of finite numbers, one is
        negative, or all are 0.

    Examples
    --------
    >>> keep_probabilities([98, 2, 0], threshold=0.02).round(3)
    array([0.143, 1.   , 1.   ])
    """
    c = np.asarray(counts, dtype=np.float64)
    if c.ndim != 1 or not np.isfinite(c).all() or (c < 0).any():
        raise ValueError("the counts must be a row of finite numbers, none negative")
    if not threshold > 0 or not c.any():
        raise ValueError(
            f"threshold is {threshold} and there are {c.sum():.0f} words, but both must be above 0"
        )
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(1, np.sqrt(threshold * c.sum() / c)))


def skip_gram_pairs(
    tokens: NDArray[Any], *, window: int, rng: Generator, end: int | None = None
) -> tuple[Ids, Ids]:
    """Return each word with each word near it, shape ``(pairs,)`` both.

    At each place the reach is drawn from 1 to `window`, all equally likely, so that near words
    occur more often than those further away (Mikolov et al., 2013a).

    Parameters
    ----------
    tokens
        Token numbers of shape ``(tokens,)``, from 0.
    window
        The largest reach to each side, at least 1.
    rng
        Source of the reaches.
    end
        The number of a token that ends a sentence: it is in no pair, and no pair reaches over it.

    Returns
    -------
    words, contexts
        The word in the middle, and one near it, int64.

    Raises
    ------
    TypeError, ValueError
        If something is not as said.

    Examples
    --------
    >>> skip_gram_pairs(np.array([5, 6, 7]), window=1, rng=np.random.default_rng(1))
    (array([5, 6, 6, 7]), array([6, 7, 5, 6]))
    """
    t, sentence, reach = _with_reaches(tokens, window, rng, end)
    words, contexts = [], []
    for d in range(1, min(window, len(t) - 1) + 1):
        near, before, after = inside(sentence, d), t[:-d], t[d:]
        ahead, back = near & (reach[:-d] >= d), near & (reach[d:] >= d)
        words += [before[ahead], after[back]]
        contexts += [after[ahead], before[back]]
    nothing = np.zeros(0, np.int64)
    return np.concatenate([nothing, *words]), np.concatenate([nothing, *contexts])


def cbow_contexts(
    tokens: NDArray[Any], *, window: int, rng: Generator, end: int | None = None
) -> tuple[Ids, Ids]:
    """Return each word with all words near it.

    Parameters and errors are those of `skip_gram_pairs`.

    Returns
    -------
    contexts : array of shape (places, 2 window)
        The words before, nearest last, and those after; -1 where there is none. int64.
    words : array of shape (places,)
        The word in the middle. Words without any other near are left out.

    Examples
    --------
    >>> cbow_contexts(np.array([5, 6, 7]), window=1, rng=np.random.default_rng(1))
    (array([[-1,  6],
           [ 5,  7],
           [ 6, -1]]), array([5, 6, 7]))
    """
    t, sentence, reach = _with_reaches(tokens, window, rng, end)
    contexts = np.full((len(t), 2 * window), NONE)
    for d in range(1, min(window, len(t) - 1) + 1):
        near = inside(sentence, d)
        contexts[d:, window - d] = np.where(near & (reach[d:] >= d), t[:-d], NONE)
        contexts[:-d, window + d - 1] = np.where(near & (reach[:-d] >= d), t[d:], NONE)
    there = (contexts != NONE).any(axis=1)
    return contexts[there], t[there]


def skip_gram_batches(
    tokens: NDArray[Any],
    *,
    window: int,
    batch_size: int,
    rng: Generator,
    end: int | None = None,
    keep: ArrayLike | None = None,
) -> Iterator[tuple[Ids, Ids]]:
    """Yield the pairs of a text once, in batches: one epoch.

    The text is taken in pieces of 65,536 tokens, over whose ends no pair reaches. Words that are
    not kept are taken out first, so the others move together. Then the pairs of a piece are put
    into random order. All that is random is drawn anew in each epoch.

    Parameters
    ----------
    tokens, window, rng, end
        As in `skip_gram_pairs`; the tokens may be an array mapped into memory.
    batch_size
        Pairs in a batch, at least 1; the last batch holds those that are left.
    keep
        How probably an occurrence of each word is kept, shape ``(words,)``; see
        `keep_probabilities`. Default: all are.

    Returns
    -------
    Iterator of (words, contexts)
        Each of shape ``(batch,)``.

    Raises
    ------
    TypeError, ValueError
        If something is not as said.
    """
    return _batches(skip_gram_pairs, tokens, window, batch_size, rng, end, keep)


def cbow_batches(
    tokens: NDArray[Any],
    *,
    window: int,
    batch_size: int,
    rng: Generator,
    end: int | None = None,
    keep: ArrayLike | None = None,
) -> Iterator[tuple[Ids, Ids]]:
    """Yield what `cbow_contexts` makes of a text once, in batches: one epoch.

    Parameters and errors are those of `skip_gram_batches`.

    Returns
    -------
    Iterator of (contexts, words)
        Of shape ``(batch, 2 window)`` and ``(batch,)``.
    """
    return _batches(cbow_contexts, tokens, window, batch_size, rng, end, keep)


def _batches(
    make: Any, tokens: Any, window: int, batch_size: int, rng: Generator, end: Any, keep: Any
) -> Iterator[tuple[Ids, Ids]]:
    tokens = checked_tokens(tokens, rng, window=window, batch_size=batch_size)
    check_end(end)
    if keep is not None:
        keep = np.asarray(keep, dtype=np.float64)
        if keep.ndim != 1 or not ((keep >= 0) & (keep <= 1)).all():
            raise ValueError("keep must hold a probability for each word: keep_probabilities(...)")
        if tokens.min() < 0 or tokens.max() >= len(keep):
            raise ValueError(
                f"keep has {len(keep)} probabilities, one for each word from 0, but the tokens go "
                f"from {tokens.min()} to {tokens.max()}"
            )
        check_end(end, len(keep))
        if end is not None:
            keep = keep.copy()
            keep[end] = 1
    return _in_batches(make, tokens, window, batch_size, rng, end, keep)


def _in_batches(
    make: Any, tokens: Any, window: int, batch_size: int, rng: Generator, end: Any, keep: Any
) -> Iterator[tuple[Ids, Ids]]:
    first: list[Ids] = []  # what is left of the pieces before
    second: list[Ids] = []
    for start in range(0, len(tokens), PIECE):
        piece = tokens[start : start + PIECE]
        if keep is not None:
            piece = piece[rng.random(len(piece)) < keep[piece]]
        if not len(piece):
            continue
        a, b = make(piece, window=window, rng=rng, end=end)
        order = rng.permutation(len(b))
        a, b = np.concatenate([*first, a[order]]), np.concatenate([*second, b[order]])
        whole = len(b) - len(b) % batch_size
        for k in range(0, whole, batch_size):
            yield a[k : k + batch_size], b[k : k + batch_size]
        first, second = [a[whole:]], [b[whole:]]
    if second and len(second[0]):
        yield first[0], second[0]


def _with_reaches(
    tokens: Any, window: int, rng: Generator, end: Any
) -> tuple[Ids, Ids, NDArray[np.int64]]:
    """Return the tokens, for each the number of its sentence, and how far it reaches."""
    t = np.asarray(checked_tokens(tokens, rng, window=window), dtype=np.int64)
    check_end(end)
    if t.min() < 0:
        raise ValueError(f"a token is {t.min()}, but words are numbered from 0")
    return t, sentences(t, end), rng.integers(1, window + 1, len(t))


def check_end(end: Any, n_tokens: int | None = None) -> None:
    """Raise an error if `end` is neither None nor the number of a token."""
    if end is None:
        return
    if isinstance(end, bool) or not isinstance(end, int | np.integer):
        raise TypeError(f"end is {end!r}, but must be a token's number, such as vocabulary.eos")
    if end < 0 or (n_tokens is not None and end >= n_tokens):
        below = "" if n_tokens is None else f" to {n_tokens - 1}"
        raise ValueError(f"end is {end}, but must be a token's number, from 0{below}")


def sentences(tokens: NDArray[Any], end: int | None) -> NDArray[np.int64]:
    """For each token the number of its sentence, and -1 for `end`; without one all are 0."""
    if end is None:
        return np.zeros(len(tokens), np.int64)
    ends = tokens == end
    return np.where(ends, -1, np.cumsum(ends))


def inside(sentence: NDArray[np.int64], d: int) -> NDArray[np.bool_]:
    """For each token but the last d, whether the one d places on is of the same sentence."""
    return np.asarray((sentence[:-d] == sentence[d:]) & (sentence[:-d] >= 0))
