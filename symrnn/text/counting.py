"""Word vectors by counting: which words stand beside which, as sparse matrices.

>>> from symrnn.text.vocabulary import Vocabulary
>>> words = "You say goodbye and I say hello .".lower().split()
>>> vocabulary = Vocabulary.build(words, specials=())
>>> counts = cooccurrences(vocabulary.encode(words), len(vocabulary), window=1)
>>> float(cosines(counts)[vocabulary["you"], vocabulary["i"]])  # 0.70710678...
0.7071067811865475
>>> vectors = svd_vectors(ppmi(counts), 2, rng=np.random.default_rng(1))
>>> vectors.shape
(7, 2)

Counts, `ppmi` and `svd_vectors` never make a dense square of all words: their memory grows with the
pairs of words that occur, and with the vectors.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from symrnn._validate import check_rng, check_sizes
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
    """Count how often each word stands near each other word.

    ``C[i, j] = sum over d = 1 ... window of w_d * (how often j stands d places from i)``,

    before or after it, so C is symmetric. The weights w_d are 1 or, with `falling`,
    ``(window + 1 - d) / window``: then C is what `symrnn.text.contexts.skip_gram_pairs` draws on
    average, whose window shrinks by chance.

    Parameters
    ----------
    tokens
        Token numbers of shape ``(tokens,)``, also an array mapped into memory.
    n_tokens
        Size of the vocabulary.
    window
        How many words to each side count, at least 1.
    end
        The number of a token that ends a sentence, such as ``vocabulary.eos``. It is no word: it
        has no counts, and no pair reaches over it. Default: the text is one sentence.
    falling
        Whether near words count more than those further away.

    Returns
    -------
    scipy.sparse.csr_array of shape (n_tokens, n_tokens)
        The counts, float64.

    Raises
    ------
    TypeError, ValueError
        If the tokens are no whole numbers, or none, or not all from 0 to ``n_tokens - 1``, or `end`
        is not; if the window is below 1.

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
    """Positive pointwise mutual information of words and contexts.

    ``M[i, j] = max(0, log(C_ij N / (r_i c_j)) - shift)``

    with the sums of rows r_i, of columns c_j, and of all N (Church and Hanks, 1990; Bullinaria and
    Levy, 2007). It is how much more often i and j meet than they would by chance. What never meets
    has 0, so the matrix is as sparse as the counts.

    Parameters
    ----------
    counts
        C, a sparse or dense matrix, not negative; `cooccurrences` makes it.
    power
        With a, not 1, ``c_j`` becomes ``c_j^a`` and N the sum of these. 0.75 takes off the weight
        that rare contexts have (Levy, Goldberg and Dagan, 2015).
    shift
        ``log k`` is what skip-gram with k negative samples takes off (Levy and Goldberg, 2014).

    Returns
    -------
    scipy.sparse.csr_array
        M, of the shape of the counts.

    Raises
    ------
    ValueError
        If the counts are no matrix, all 0, or one is negative, NaN or infinite; if `power` is not
        positive or `shift` negative, or they are not finite.

    Examples
    --------
    >>> ppmi(np.array([[0, 2], [2, 4]])).toarray().round(4)  # log(2 * 8 / (2 * 6)), and below 0
    array([[0.    , 0.2877],
           [0.2877, 0.    ]])
    """
    if not 0 < power < np.inf or not 0 <= shift < np.inf:
        raise ValueError(
            f"power is {power} and shift {shift}, but must be finite, above 0, and 0 or more"
        )
    c = sp.coo_array(counts, dtype=np.float64)
    if c.ndim != 2:
        raise ValueError(f"the counts must be a matrix, words by contexts, not of shape {c.shape}")
    c.sum_duplicates()
    if not np.isfinite(c.data).all() or (c.data < 0).any() or not c.data.any():
        raise ValueError(
            "the counts must be finite, none below 0, and not all 0: is the text so short that no "
            "two words stand together?"
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
    """Short vectors for the rows of a sparse matrix, by truncated singular value decomposition.

    ``M ~ U S V^T``, the best approximation of this rank (Eckart and Young, 1936); the vectors are
    the rows of ``U S^power``.

    Parameters
    ----------
    matrix
        M, sparse or dense, such as the result of `ppmi`.
    n_features
        Length of the vectors, at least 1 and below the number of rows and of columns.
    rng
        Source of the vector at which the iteration starts (Lanczos' method, in SciPy's ``svds``).
    power
        How much the large singular values count, from 0 to 1. For similarities 0.5 or 0 is better
        than 1 (Levy, Goldberg and Dagan, 2015).

    Returns
    -------
    array of shape (rows, n_features)
        float64; the column of the largest singular value is first. Where the rank of M is below
        `n_features`, the last columns are 0.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or the matrix holds nothing but 0, or NaN or infinite numbers.

    Notes
    -----
    Signs are arbitrary; here the largest number of each column is positive. Columns of equal
    singular values are arbitrary up to a rotation among them, which depends on `rng`. Cosines do
    not, unless `n_features` cuts such columns apart.
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
    there = s > np.sqrt(np.finfo(s.dtype).eps) * s[0]  # the iteration is on s^2: less is rounding
    return np.asarray(np.where(there, u * s**power, 0))


def cosines(a: Any, b: Any = None) -> NDArray[Any]:
    """Cosine of the angle between each row of a and each row of b, ``a . b / (|a| |b|)``.

    Parameters
    ----------
    a, b
        Matrices, sparse or dense, of shape ``(n, features)`` and ``(m, features)``. Default for b:
        the rows of a among themselves.

    Returns
    -------
    array of shape (n, m)
        From -1 to 1, dense, of the dtype of a and b, or float64 if they are whole numbers. A row of
        zeros has cosine 0 with all.

    Raises
    ------
    ValueError
        If they are no matrices with equally many features, or hold NaN or infinite numbers.
    """
    a = unit_rows(a)
    b = a if b is None else unit_rows(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the rows have {a.shape[1]} and {b.shape[1]} features: not comparable")
    product = a @ b.T
    product = product.toarray() if sp.issparse(product) else product
    return np.asarray(np.clip(product, -1, 1, out=product))  # rounding goes beyond


def unit_rows(matrix: Any) -> Any:
    """Return the matrix with rows of length 1; a row of zeros stays one. Sparse remains sparse."""
    sparse = sp.issparse(matrix)
    matrix = matrix if sparse else np.asarray(matrix)
    if matrix.ndim != 2:
        raise ValueError(f"a matrix is wanted, one row for each word, not shape {matrix.shape}")
    if matrix.dtype.kind != "f":
        matrix = matrix.astype(np.float64)
    if sparse:
        matrix = sp.csr_array(matrix, copy=True)
        matrix.sum_duplicates()
    numbers = matrix.data if sparse else matrix
    if not np.isfinite(numbers).all():
        raise ValueError("the vectors must be finite, but there is NaN or infinity among them")
    for norm in (_largest, _length):  # first the largest, so that no square is too large
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
    """Raise ValueError if a token is not from 0 to ``n_tokens - 1``."""
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < n_tokens:
        raise ValueError(
            f"the tokens go from {tokens.min()} to {tokens.max()}, but must be from 0 to "
            f"{n_tokens - 1}: n_tokens is the size of the vocabulary, len(vocabulary)"
        )
