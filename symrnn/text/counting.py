"""Word vectors by counting: co-occurrences, PPMI and truncated SVD, on sparse matrices.

>>> from symrnn.text.vocabulary import Vocabulary
>>> words = "You say goodbye and I say hello .".lower().split()
>>> vocabulary = Vocabulary.build(words, specials=())
>>> counts = cooccurrences(vocabulary.encode(words), len(vocabulary), window=1)
>>> float(cosines(counts)[vocabulary["you"], vocabulary["i"]])  # 0.70710678...
0.7071067811865475
>>> vectors = svd_vectors(ppmi(counts), 2, rng=np.random.default_rng(1))
>>> vectors.shape
(7, 2)

Counts, `ppmi` and `svd_vectors` never make a dense matrix of all pairs of words: their memory grows
with the pairs that occur, and with the vectors.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from symrnn._validate import check_positive, check_rng, check_sizes
from symrnn.text.batches import checked_tokens
from symrnn.text.contexts import check_end, inside, sentences

PIECE = 2**22  # tokens that are counted at a time


def cooccurrences(
    tokens: NDArray[Any],
    n_tokens: int,
    *,
    window: int = 5,
    end: int | None = None,
    falling: bool = False,
) -> Any:
    """Count how often each word occurs near each other word.

    ``C[i, j] = sum over d = 1 ... window of w_d * (how often j is d positions from i)``,

    before or after it, so C is symmetric. The weights w_d are 1 or, with `falling`,
    ``(window + 1 - d) / window``: then C is the average of what
    `symrnn.text.contexts.skip_gram_pairs` draws, whose window shrinks at random.

    Parameters
    ----------
    tokens
        Token ids of shape ``(tokens,)``; a memory-mapped array too.
    n_tokens
        Size of the vocabulary.
    window
        How many words to each side count.
    end
        Token id that ends a sentence, such as ``vocabulary.eos``. It is not a word: it has no
        counts, and no pair reaches across it. Default: the text is one sentence.
    falling
        Whether near words count more than distant ones.

    Returns
    -------
    scipy.sparse.csr_array of shape (n_tokens, n_tokens)
        The counts, float64.

    Examples
    --------
    >>> cooccurrences(np.array([0, 1, 1, 2]), n_tokens=3, window=1).toarray()
    array([[0., 1., 0.],
           [1., 2., 1.],
           [0., 1., 0.]])
    """
    tokens = checked_tokens(tokens, n_tokens=n_tokens, window=window)
    check_end(end, n_tokens)
    counts = sp.csr_array((n_tokens, n_tokens))
    for start in range(0, len(tokens), PIECE):
        t = np.asarray(tokens[start : start + PIECE + window], dtype=np.int64)
        check_range(t, n_tokens)
        first = min(PIECE, len(t))  # pairs that begin later belong to the next piece
        sentence = sentences(t, end)
        for d in range(1, min(window, len(t) - 1) + 1):
            i, j = t[: min(first, len(t) - d)], t[d : first + d]
            near = inside(sentence, d)[: len(i)]
            w = (window + 1 - d) / window if falling else 1.0
            pairs = (np.full(near.sum(), w), (i[near], j[near]))
            counts = counts + sp.coo_array(pairs, shape=counts.shape).tocsr()
    return (counts + counts.T).tocsr()


def ppmi(counts: Any, *, power: float = 1.0, shift: float = 0.0) -> Any:
    """Return the positive pointwise mutual information of words and contexts.

    ``M[i, j] = max(0, log(C_ij N / (r_i c_j)) - shift)``

    with the sums of rows r_i, of columns c_j, and of everything N (Church and Hanks, 1990;
    Bullinaria and Levy, 2007): how much more often i and j meet than they would by chance. Pairs
    that never meet have 0, so M is as sparse as the counts.

    Parameters
    ----------
    counts
        C, a sparse or dense matrix, not negative; `cooccurrences` makes it.
    power
        Exponent a > 0 of context smoothing: ``c_j`` becomes ``c_j^a``, and N their sum. 0.75
        reduces the bias towards rare contexts (Levy, Goldberg and Dagan, 2015).
    shift
        Not negative. ``log k`` corresponds to skip-gram with k negative samples (Levy and Goldberg,
        2014).

    Returns
    -------
    scipy.sparse.csr_array
        M, of the shape of the counts.

    Examples
    --------
    >>> ppmi(np.array([[0, 2], [2, 4]])).toarray().round(4)  # log(2 * 8 / (2 * 6)), and below 0
    array([[0.    , 0.2877],
           [0.2877, 0.    ]])
    """
    check_positive("power", power)
    check_positive("shift", shift, or_zero=True)
    c = sp.coo_array(counts, dtype=np.float64)
    if c.ndim != 2:
        raise ValueError(f"the counts must be a matrix, words by contexts, not of shape {c.shape}")
    c.sum_duplicates()
    if not np.isfinite(c.data).all() or (c.data < 0).any() or not c.data.any():
        raise ValueError(
            "the counts must be finite, none below 0, and not all 0: is the text so short that no "
            "two words occur together?"
        )
    c.eliminate_zeros()
    rows, columns = c.sum(axis=1), c.sum(axis=0) ** power
    i, j = c.coords
    m = np.log(c.data) + np.log(columns.sum()) - np.log(rows[i]) - np.log(columns[j]) - shift
    keep = m > 0
    return sp.coo_array((m[keep], (i[keep], j[keep])), shape=c.shape).tocsr()


def svd_vectors(
    matrix: Any, n_features: int, *, rng: Generator, power: float = 0.5
) -> NDArray[np.float64]:
    """Return short vectors for the rows of a sparse matrix, by truncated SVD.

    ``M ~ U S V^T``, the best approximation of this rank (Eckart and Young, 1936); the vectors are
    the rows of ``U S^power``.

    Parameters
    ----------
    matrix
        M, sparse or dense, finite and not all 0, such as the result of `ppmi`.
    n_features
        Length of the vectors, below the number of rows and of columns.
    rng
        Generator of the vector at which the iteration starts (Lanczos' method, in SciPy's
        ``svds``).
    power
        Exponent of the singular values, from 0 to 1. For similarities 0.5 or 0 is better than 1
        (Levy, Goldberg and Dagan, 2015).

    Returns
    -------
    array of shape (rows, n_features)
        float64; the column of the largest singular value is first. Where the rank of M is below
        `n_features`, the last columns are 0.

    Notes
    -----
    Signs are arbitrary; here the entry of largest magnitude in each column is positive. Columns of
    equal singular values are arbitrary up to a rotation among them, which depends on `rng`. Cosines
    do not, unless `n_features` separates such columns.

    Examples
    --------
    >>> m = np.array([[4.0, 4, 0], [4, 4, 0], [0, 0, 2]])
    >>> abs(svd_vectors(m, 2, rng=np.random.default_rng(1))).round(3)
    array([[2.   , 0.   ],
           [2.   , 0.   ],
           [0.   , 1.414]])
    """
    check_rng(rng)
    check_sizes(n_features=n_features)
    m = sp.csr_array(matrix, dtype=np.float64)
    if n_features >= min(m.shape):
        raise ValueError(
            f"n_features is {n_features}, but must be below {min(m.shape)}, for the matrix has "
            f"shape {m.shape}"
        )
    if not 0 <= power <= 1:
        raise ValueError(f"power is {power}, but must be from 0 to 1")
    if not np.isfinite(m.data).all() or not m.data.any():
        raise ValueError("the matrix must hold finite numbers, and not only 0")
    u, s, _ = svds(m, k=n_features, v0=rng.normal(size=min(m.shape)))
    largest_first = np.argsort(s)[::-1]
    u, s = u[:, largest_first], np.maximum(s[largest_first], 0)
    u = u * np.sign(u[np.abs(u).argmax(axis=0), np.arange(n_features)])
    nonzero = s > np.sqrt(np.finfo(s.dtype).eps) * s[0]  # the iteration is on s^2: less is rounding
    return np.asarray(np.where(nonzero, u * s**power, 0))


def cosines(a: Any, b: Any = None) -> NDArray[Any]:
    """Return the cosine between each row of a and each row of b, ``a . b / (|a| |b|)``.

    Parameters
    ----------
    a, b
        Matrices, sparse or dense, finite, of shape ``(n, features)`` and ``(m, features)``.
        Default for b: a, its rows among themselves.

    Returns
    -------
    array of shape (n, m)
        From -1 to 1, dense, of the dtype of a and b, or float64 if they are whole numbers. A row of
        zeros has cosine 0 with all.

    Examples
    --------
    >>> cosines([[1, 0], [0, 2]], [[3, 0], [1, 1]]).round(3)
    array([[1.   , 0.707],
           [0.   , 0.707]])
    """
    a = unit_rows(a)
    b = a if b is None else unit_rows(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the rows have {a.shape[1]} and {b.shape[1]} features: not comparable")
    product = a @ b.T
    product = product.toarray() if sp.issparse(product) else product
    return np.asarray(np.clip(product, -1, 1, out=product))  # rounding may exceed 1


def unit_rows(matrix: Any) -> Any:
    """Return the matrix with rows of length 1; a row of zeros and a sparse matrix stay so."""
    sparse = sp.issparse(matrix)
    matrix = matrix if sparse else np.asarray(matrix)
    if matrix.ndim != 2:
        raise ValueError(f"there must be a matrix, one row for each word, not shape {matrix.shape}")
    if matrix.dtype.kind != "f":
        matrix = matrix.astype(np.float64)
    if sparse:
        matrix = sp.csr_array(matrix, copy=True)
        matrix.sum_duplicates()
    numbers = matrix.data if sparse else matrix
    if not np.isfinite(numbers).all():
        raise ValueError("the vectors must be finite, but there is NaN or infinity among them")
    for norm in (_largest, _length):  # first the largest entry, so that no square overflows
        of_row = norm(matrix)
        of_row = np.where(of_row > 0, of_row, 1)
        if sparse:
            matrix.data = matrix.data / np.repeat(of_row, np.diff(matrix.indptr))
        else:
            matrix = matrix / of_row[:, None]
    return matrix


def _largest(matrix: Any) -> NDArray[Any]:
    largest = abs(matrix).max(axis=1)
    return np.asarray(largest.toarray() if sp.issparse(largest) else largest)


def _length(matrix: Any) -> NDArray[Any]:
    return np.asarray(np.sqrt((matrix * matrix).sum(axis=1)))


def check_range(tokens: NDArray[Any], n_tokens: int) -> None:
    """Raise ValueError if a token id is not from 0 to ``n_tokens - 1``."""
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < n_tokens:
        raise ValueError(
            f"the tokens go from {tokens.min()} to {tokens.max()}, but must be from 0 to "
            f"{n_tokens - 1}: n_tokens is the size of the vocabulary, len(vocabulary)"
        )
