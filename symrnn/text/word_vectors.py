"""Words and their vectors: neighbours, analogies, comparison with human judgements.

From a text to vectors (here a tiny one; `symrnn.text` shows how files become tokens):

>>> from symrnn.models.word2vec import SkipGram
>>> from symrnn.text import Vocabulary
>>> from symrnn.text.alias_sampler import AliasSampler
>>> from symrnn.text.contexts import skip_gram_batches
>>> words = 50 * "the cat sleeps . the dog sleeps . a car stops . a bus stops .".split()
>>> vocabulary, rng = Vocabulary.build(words, specials=()), np.random.default_rng(1)
>>> tokens, end = vocabulary.encode(words), vocabulary["."]
>>> model, noise = SkipGram(len(vocabulary), 8, rng=rng), AliasSampler(vocabulary.counts**0.75)
>>> step = model.compile_negative_sampling(learning_rate=1.0)
>>> for _ in range(10):
...     for word, context in skip_gram_batches(tokens, window=2, batch_size=32, rng=rng, end=end):
...         loss = step(word, context, noise.draw((len(word), 5), rng=rng))
>>> vectors = WordVectors(vocabulary.tokens, model.W_in.get_value())
>>> vectors.nearest("cat", n=1)[0][0], vectors.nearest("car", n=1)[0][0]
('dog', 'bus')
"""

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from symrnn._validate import check_sizes
from symrnn.text.counting import unit_rows
from symrnn.text.vocabulary import UnknownTokenError, similar_spelling
from symrnn.text.word_vector_files import (
    Question,
    read_similarities,
    read_vectors,
    write_vectors,
)

BLOCK = 256  # questions that are answered at a time
COMPARED = 10_000  # words whose spelling is compared with that of an unknown word


class Correlation(NamedTuple):
    """How well vectors agree with human judgements; see `WordVectors.correlation`."""

    rho: float
    """Spearman's rank correlation, from -1 to 1."""
    p_value: float
    """Probability of a correlation at least as far from 0 by chance."""
    n_pairs: int
    """How many pairs were compared."""
    missing: list[tuple[str, str]]
    """The pairs that were left out because a word has no vector."""


class WordVectors:
    """Words, and a vector for each.

    Parameters
    ----------
    words
        The words, each once, for example ``vocabulary.tokens``.
    vectors
        Finite floats, shape ``(words, features)``.

    Attributes
    ----------
    words : tuple of str
        The words, in order.
    vectors : array of shape (words, features)
        Their vectors.
    unit : array of shape (words, features)
        The same scaled to length 1: their inner products are cosines.

    Raises
    ------
    UnknownTokenError
        By all methods, for a word that is not there; it names those with a similar spelling.

    Examples
    --------
    >>> w = WordVectors(["man", "woman", "king", "queen"], [[1.0, 0], [1, 1], [3, 0], [3, 1]])
    >>> w.nearest("man", n=2)
    [('king', 1.0), ('queen', 0.9486832980505138)]
    >>> [word for word, _ in w.analogy("man", "woman", "king", n=1)]  # as king is to ...
    ['queen']
    >>> w.similarity("man", "kings")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    symrnn.text.vocabulary.UnknownTokenError: 'kings' is not among the 4 words. Similar spelling...
    """

    def __init__(self, words: Iterable[str], vectors: ArrayLike) -> None:
        self.words = tuple(words)
        self.vectors = np.asarray(vectors)
        if self.vectors.dtype.kind != "f":
            self.vectors = self.vectors.astype(np.float64)
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.words) or not self.vectors.size:
            raise ValueError(
                f"the vectors have shape {self.vectors.shape}, but must have shape (words, "
                f"features), and there are {len(self.words)} words"
            )
        if not np.isfinite(self.vectors).all():
            word = self.words[int(np.argmin(np.isfinite(self.vectors).all(axis=1)))]
            raise ValueError(f"the vector of {word!r} is not finite")
        self._ids = {word: k for k, word in enumerate(self.words)}
        if len(self._ids) < len(self.words) or "" in self._ids:
            wrong = next(w for k, w in enumerate(self.words) if not w or self._ids[w] != k)
            raise ValueError(f"the word {wrong!r} is there twice, or empty: give each word once")
        self.unit: NDArray[Any] = unit_rows(self.vectors)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __getitem__(self, word: str) -> NDArray[Any]:
        """Return the vector of a word."""
        return np.asarray(self.vectors[self._id(word)])

    def similarity(self, a: str, b: str) -> float:
        """Return the cosine of the angle between two words, from -1 to 1."""
        return _within_one(self.unit[self._id(a)] @ self.unit[self._id(b)])

    def nearest(self, word: str | ArrayLike, *, n: int = 10) -> list[tuple[str, float]]:
        """Return the n words with the largest cosines, and these.

        Parameters
        ----------
        word
            A word, which is not among those returned, or a vector of shape ``(features,)``.
        n
            How many words.
        """
        if isinstance(word, str):
            k = self._id(word)
            return self._best(self.unit[k], n, {k})
        try:
            vector = np.asarray(word, dtype=self.unit.dtype)
        except (TypeError, ValueError):
            raise ValueError(
                f"{word!r} is neither a word nor a vector: ask for one word at a time"
            ) from None
        if vector.shape != self.unit.shape[1:]:
            raise ValueError(f"the vector has shape {vector.shape}, not {self.unit.shape[1:]}")
        return self._best(unit_rows(vector[None])[0], n, set())

    def analogy(self, a: str, b: str, c: str, *, n: int = 10) -> list[tuple[str, float]]:
        """Return the n best words x for "a is to b as c is to x", and their cosines.

        They are the words nearest to ``b - a + c``, each scaled to length 1 (Mikolov et al.,
        2013c), without a, b and c themselves.
        """
        ids = [self._id(word) for word in (a, b, c)]
        return self._best(unit_rows(self._target(*ids)[None])[0], n, set(ids))

    def known(self, questions: Iterable[Question]) -> list[Question]:
        """Return the questions whose words all have vectors.

        Usually accuracy is that on these alone, reported with how many of all they are.
        """
        return [q for q in questions if all(word in self for word in q)]

    def solves(self, questions: Sequence[Question]) -> NDArray[np.bool_]:
        """Return for each ``(a, b, c, d)`` whether d is the best x for "a is to b as c is to x".

        Parameters
        ----------
        questions
            At least one, of words that have vectors; of those of `read_analogies` take the ones
            that are `known`.

        Returns
        -------
        array of shape (questions,)
            The mean is the accuracy. A question whose d is one of a, b and c cannot be solved,
            because these are never answers.
        """
        if not len(questions) or any(isinstance(q, str) or len(q) != 4 for q in questions):
            raise ValueError("questions must be tuples of four words (a, b, c, d), at least one")
        ids = np.array([[self._id(word) for word in q] for q in questions], np.int64)
        right = np.zeros(len(ids), np.bool_)
        for k in range(0, len(ids), BLOCK):
            a, b, c, d = ids[k : k + BLOCK].T
            scores = self._target(a, b, c) @ self.unit.T
            for asked in (a, b, c):
                scores[np.arange(len(a)), asked] = -np.inf
            answered = np.isfinite(scores[np.arange(len(a)), d])
            right[k : k + BLOCK] = answered & (scores.argmax(axis=1) == d)
        return right

    def correlation(self, path: str | os.PathLike[str], *, column: int = 3) -> Correlation:
        """Compare cosines with human judgements of how similar two words are.

        Parameters
        ----------
        path
            A text file in UTF-8 with one pair per line: two words and a number, with tabs, commas,
            semicolons or spaces between them; see `read_similarities`.
        column
            Which column holds the number, from 3; 4 for SimLex-999 (Hill et al., 2015).

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If a line is something else or not in UTF-8; the message names file and line. If fewer
            than three pairs have vectors, or all numbers are equal, so that there is no order to
            compare.
        """
        from scipy.stats import spearmanr  # slow to import

        ours, theirs, missing = [], [], []
        for a, b, score in read_similarities(path, column=column):
            if a in self and b in self:
                ours.append(self.similarity(a, b))
                theirs.append(score)
            else:
                missing.append((a, b))
        if len(set(ours)) < 2 or len(set(theirs)) < 2 or len(ours) < 3:
            raise ValueError(
                f"{path}: {len(ours)} pairs of words have vectors, {len(missing)} have not, and "
                "there must be three that do, whose numbers are not all equal. Are the words "
                "spelt as in the vocabulary, for example in lowercase?"
            )
        result = spearmanr(ours, theirs)
        return Correlation(float(result.statistic), float(result.pvalue), len(ours), missing)

    def plane(self, words: Sequence[str]) -> NDArray[np.float64]:
        """Project at least 3 words to a plane, for `symrnn.plots.word_map`; shape ``(words, 2)``.

        It is the plane in which the unit vectors of these words differ most (principal components:
        Pearson, 1901).
        """
        if len(words) < 3 or self.unit.shape[1] < 2:
            raise ValueError("a plane needs at least three words, and vectors of two features")
        x = self.unit[[self._id(word) for word in words]].astype(np.float64)
        u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        signs = np.sign(u[np.abs(u[:, :2]).argmax(axis=0), [0, 1]])
        return np.asarray(u[:, :2] * s[:2] * signs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a text file in word2vec's format, which gensim and others read, atomically.

        The first line has the number of words and of features, each other line a word and its
        numbers, with spaces between. `load` with the dtype of these vectors restores them exactly;
        by default it reads float32.

        Raises
        ------
        ValueError
            If a word contains a space or an end of line, which the format cannot hold.
        """
        write_vectors(path, self.words, self.vectors)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, max_words: int | None = None, dtype: DTypeLike = "f4"
    ) -> "WordVectors":
        """Read a text file in word2vec's format (not the binary one).

        Parameters
        ----------
        path
            The file, in UTF-8.
        max_words
            How many words to read at most; files often begin with the most frequent ones.
        dtype
            Float type of the vectors.

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If it is damaged or something else; the message names file and line.
        """
        return cls(*read_vectors(path, max_words=max_words, dtype=dtype))

    def _id(self, word: Any) -> int:
        try:
            return self._ids[word]
        except KeyError:
            like = similar_spelling(word, self._like(word)) if isinstance(word, str) else ""
            raise UnknownTokenError(
                word, 0, f"{word!r} is not among the {len(self)} words.{like}"
            ) from None

    def _like(self, word: str) -> list[str]:
        """Return words to compare with: of many, those of equal first letter and similar length."""
        if len(self) <= COMPARED:
            return list(self.words)
        first, lengths = word[:1].lower(), range(len(word) - 2, len(word) + 3)
        like = (w for w in self.words if len(w) in lengths and w[0].lower() == first)
        return list(islice(like, COMPARED))

    def _target(self, a: Any, b: Any, c: Any) -> NDArray[Any]:
        return np.asarray(self.unit[b] - self.unit[a] + self.unit[c])

    def _best(self, direction: NDArray[Any], n: int, without: set[int]) -> list[tuple[str, float]]:
        check_sizes(n=n)
        scores = self.unit @ direction
        n = min(n, len(self) - len(without))
        several = min(n + len(without), len(self))
        best = np.argpartition(-scores, several - 1)[:several]
        best = best[np.lexsort((best, -scores[best]))]
        found = [k for k in best.tolist() if k not in without][:n]
        return [(self.words[k], _within_one(scores[k])) for k in found]


def _within_one(cosine: Any) -> float:
    """Cut off what rounding has put beyond 1 or -1."""
    return max(-1.0, min(1.0, float(cosine)))
