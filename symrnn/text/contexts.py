"""Training examples for word vectors: words and their contexts, vectorised over the text.

Negative samples are drawn by `symrnn.text.alias_sampler`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_positive, check_token_id
from symrnn.text.batches import checked_tokens

Ids = NDArray[np.int64]
PIECE = 2**16  # tokens that are processed at a time
NONE = -1
"""The id in a context where there is no word."""


def keep_probabilities(counts: ArrayLike, *, threshold: float = 1e-3) -> NDArray[np.float64]:
    """Return the probability of keeping each word: ``min(1, sqrt(threshold / f))``.

    f is the word's relative frequency. Frequent words say little about their neighbours and take
    most of the training time, so they are subsampled (Mikolov et al., 2013b).

    Parameters
    ----------
    counts
        How often each word occurs, shape ``(words,)``, finite and not negative.
    threshold
        Words of higher relative frequency are subsampled: 1e-5 to 1e-3, larger for shorter texts.

    Examples
    --------
    >>> keep_probabilities([98, 2, 0], threshold=0.02).round(3)
    array([0.143, 1.   , 1.   ])
    """
    c = np.asarray(counts, dtype=np.float64)
    if c.ndim != 1 or not np.isfinite(c).all() or (c < 0).any():
        raise ValueError("the counts must be a row of finite numbers, none negative")
    check_positive("threshold", threshold)
    if not c.any():
        raise ValueError("the counts are all 0, but there must be words")
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(1, np.sqrt(threshold * c.sum() / c)))


def skip_gram_pairs(
    tokens: NDArray[Any], *, window: int, rng: Generator, end: int | None = None
) -> tuple[Ids, Ids]:
    """Return each word with each word near it: the pairs of skip-gram.

    For each position the reach is drawn from 1 to `window`, all equally likely, so that near words
    occur more often than distant ones (Mikolov et al., 2013a).

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``.
    window
        The largest reach to each side.
    rng
        Generator that draws the reaches.
    end
        Token id that ends a sentence: it is in no pair, and no pair reaches across it. Default:
        the text is one sentence.

    Returns
    -------
    words, contexts : arrays of shape (pairs,)
        The word in the middle, and one near it, int64.

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
    """Return each word with all words near it: the contexts of CBOW.

    For each position the reach is drawn from 1 to `window`, all equally likely, so that near words
    occur more often than distant ones (Mikolov et al., 2013a).

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``.
    window
        The largest reach to each side.
    rng
        Generator that draws the reaches.
    end
        Token id that ends a sentence: it is in no context, and no context reaches across it.
        Default: the text is one sentence.

    Returns
    -------
    contexts : array of shape (words, 2 window)
        The words before, nearest last, and those after; -1 where there is none. int64.
    words : array of shape (words,)
        The word in the middle. Words without any other near are skipped.

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
    found = (contexts != NONE).any(axis=1)
    return contexts[found], t[found]


def skip_gram_batches(
    tokens: NDArray[Any],
    *,
    window: int,
    batch_size: int,
    rng: Generator,
    end: int | None = None,
    keep: ArrayLike | None = None,
) -> Iterator[tuple[Ids, Ids]]:
    """Yield the `skip_gram_pairs` of a text once, in batches: one epoch.

    The text is processed in pieces of 65,536 tokens; no pair reaches across their ends. First
    words are subsampled, so that the others move together; then the pairs of a piece are
    shuffled. All random draws are new in each epoch.

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``; a memory-mapped array too.
    window
        The largest reach to each side.
    batch_size
        Pairs in a batch; the last batch holds those that are left.
    rng
        Generator that draws the reaches, the words that are kept and the order.
    end
        Token id that ends a sentence: it is in no pair, and no pair reaches across it.
        Default: the text is one sentence.
    keep
        Probability of keeping an occurrence of each word, shape ``(words,)``; see
        `keep_probabilities`. Default: all are kept.

    Returns
    -------
    Iterator of (words, contexts)
        Each of shape ``(batch,)``, int64.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> [w.shape for w, c in skip_gram_batches(np.arange(5), window=1, batch_size=3, rng=rng)]
    [(3,), (3,), (2,)]
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
    """Yield the `cbow_contexts` of a text once, in batches: one epoch.

    The text is processed in pieces of 65,536 tokens; no context reaches across their ends. First
    words are subsampled, so that the others move together; then the contexts of a piece are
    shuffled. All random draws are new in each epoch.

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``; a memory-mapped array too.
    window
        The largest reach to each side.
    batch_size
        Contexts in a batch; the last batch holds those that are left.
    rng
        Generator that draws the reaches, the words that are kept and the order.
    end
        Token id that ends a sentence: it is in no context, and no context reaches across it.
        Default: the text is one sentence.
    keep
        Probability of keeping an occurrence of each word, shape ``(words,)``; see
        `keep_probabilities`. Default: all are kept.

    Returns
    -------
    Iterator of (contexts, words)
        Of shape ``(batch, 2 window)`` and ``(batch,)``, int64.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> [c.shape for c, w in cbow_batches(np.arange(5), window=1, batch_size=3, rng=rng)]
    [(3, 2), (2, 2)]
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
    """Return the tokens, which sentence each is in, and how far each reaches."""
    t = np.asarray(checked_tokens(tokens, rng, window=window), dtype=np.int64)
    check_end(end)
    if t.min() < 0:
        raise ValueError(f"a token is {t.min()}, but token ids begin at 0")
    return t, sentences(t, end), rng.integers(1, window + 1, len(t))


def check_end(end: Any, n_tokens: int | None = None) -> None:
    """Raise an error if `end` is neither None nor a token id."""
    if end is not None:
        check_token_id("end", end, n_tokens)


def sentences(tokens: NDArray[Any], end: int | None) -> NDArray[np.int64]:
    """Return which sentence each token is in, from 0, and -1 for `end`; without one all are 0."""
    if end is None:
        return np.zeros(len(tokens), np.int64)
    ends = tokens == end
    return np.where(ends, -1, np.cumsum(ends))


def inside(sentence: NDArray[np.int64], d: int) -> NDArray[np.bool_]:
    """Return for each token but the last d whether the one d steps on is in the same sentence."""
    return np.asarray((sentence[:-d] == sentence[d:]) & (sentence[:-d] >= 0))
