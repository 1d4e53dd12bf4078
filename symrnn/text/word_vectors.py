"""Words and their vectors: neighbours, analogies, comparison with people, files.

From a text to vectors (here a tiny one; `symrnn.text` tells how files become tokens):

>>> from symrnn.models.word2vec import SkipGram
>>> from symrnn.text import Vocabulary
>>> from symrnn.text.contexts import AliasSampler, skip_gram_batches
>>> words = 50 * "the cat sleeps . the dog sleeps . a car stops . a bus stops .".split()
>>> vocabulary, rng = Vocabulary.build(words, specials=()), np.random.default_rng(1)
>>> tokens, end = vocabulary.encode(words), vocabulary["."]
>>> model, noise = SkipGram(len(vocabulary), 8, rng), AliasSampler(vocabulary.counts**0.75)
>>> step = model.compile_negative_sampling(learning_rate=1.0, mode="FAST_COMPILE")
>>> for _ in range(10):
...     for word, context in skip_gram_batches(tokens, 2, 32, rng, end):
...         loss = step(word, context, noise.draw(rng, (len(word), 5)))
>>> vectors = WordVectors(vocabulary.tokens, model.W_in.get_value())
>>> vectors.nearest("cat", 1)[0][0], vectors.nearest("car", 1)[0][0]
('dog', 'bus')
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from symrnn.files import replacing
from symrnn.text.batches import check_sizes
from symrnn.text.counting import unit_rows
from symrnn.text.vocabulary import UnknownTokenError

Question = tuple[str, str, str, str]
"""``(a, b, c, d)``: a is to b as c is to d."""

BLOCK = 256  # questions that are answered at a time


class Correlation(NamedTuple):
    """How far vectors agree with human judgements; see `WordVectors.correlation`."""

    rho: float
    """Spearman's rank correlation, from -1 to 1."""
    p_value: float
    """How probable one as far from 0 would be by chance."""
    n_pairs: int
    """How many pairs were compared."""
    missing: list[tuple[str, str]]
    """The pairs that were left out, for a word of them has no vector."""


class WordVectors:
    """Words, and a vector for each.

    Parameters
    ----------
    words
        The words, each once, for example ``vocabulary.tokens``.
    vectors
        Shape ``(words, features)``, finite floats.

    Attributes
    ----------
    words : tuple of str
        The words, in order.
    vectors : array of shape (words, features)
        Their vectors.
    unit : array of shape (words, features)
        The same with length 1: products of these are cosines.

    Raises
    ------
    ValueError
        If there are no words, one is empty or there twice, or the vectors do not fit. All methods:
        an `UnknownTokenError` for a word that is not there, with those that are spelt most like it.

    Examples
    --------
    >>> w = WordVectors(["man", "woman", "king", "queen"], [[1.0, 0], [1, 1], [3, 0], [3, 1]])
    >>> w.nearest("man", 2)
    [('king', 1.0), ('queen', 0.9486832980505138)]
    >>> [word for word, _ in w.analogy("man", "woman", "king", 1)]  # as king is to ...
    ['queen']
    >>> w.similarity("man", "kings")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    symrnn.text.vocabulary.UnknownTokenError: 'kings' is not among the 4 words. Spelt most like ...
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
        return float(self.unit[self._id(a)] @ self.unit[self._id(b)])

    def nearest(self, word: str | ArrayLike, n: int = 10) -> list[tuple[str, float]]:
        """Return the n words with the largest cosines to a word, which is not among them.

        In place of a word one may give a vector of shape ``(features,)``.
        """
        if isinstance(word, str):
            k = self._id(word)
            return self._best(self.unit[k], n, {k})
        vector = np.asarray(word, dtype=self.unit.dtype)
        if vector.shape != self.unit.shape[1:]:
            raise ValueError(f"the vector has shape {vector.shape}, not {self.unit.shape[1:]}")
        return self._best(unit_rows(vector[None])[0], n, set())

    def analogy(self, a: str, b: str, c: str, n: int = 10) -> list[tuple[str, float]]:
        """Return the n best words x for "a is to b as c is to x".

        The words nearest to ``b - a + c``, each of length 1 (Mikolov et al., 2013c), without a, b
        and c themselves.
        """
        ids = [self._id(word) for word in (a, b, c)]
        return self._best(unit_rows(self._target(*ids)[None])[0], n, set(ids))

    def solves(self, questions: Sequence[Question]) -> NDArray[np.bool_]:
        """For each ``(a, b, c, d)``, whether d is the best x for "a is to b as c is to x".

        Returns
        -------
        array of shape (questions,)
            The mean is the share of right answers.
        """
        ids = np.array([[self._id(word) for word in q] for q in questions], np.int64)
        if ids.ndim != 2 or ids.shape[1] != 4:
            raise ValueError("questions must be tuples of four words (a, b, c, d), at least one")
        right = np.zeros(len(ids), np.bool_)
        for k in range(0, len(ids), BLOCK):
            a, b, c, d = ids[k : k + BLOCK].T
            scores = self._target(a, b, c) @ self.unit.T
            for asked in (a, b, c):
                scores[np.arange(len(a)), asked] = -np.inf
            right[k : k + BLOCK] = scores.argmax(axis=1) == d
        return right

    def correlation(self, path: str | os.PathLike[str], column: int = 3) -> Correlation:
        """Compare cosines with people's judgements of how similar two words are.

        Parameters
        ----------
        path
            A text file in UTF-8 with a pair a line: two words and a number, with tabs, commas,
            semicolons or spaces between them, as in WordSim-353 (Finkelstein et al., 2002). Blank
            lines and those that begin with # are left out; the first line may be a head.
        column
            Which column holds the number, from 3; 4 for SimLex-999 (Hill et al., 2015).

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If a line is something else: the message names file and line. If fewer than three pairs
            have vectors, or all numbers are equal, so that there is no order to compare.
        """
        from scipy.stats import spearmanr  # takes longer to import than all the rest

        ours, theirs, missing = [], [], []
        for a, b, score in read_similarities(path, column):
            if a in self and b in self:
                ours.append(self.similarity(a, b))
                theirs.append(score)
            else:
                missing.append((a, b))
        if len(set(ours)) < 2 or len(set(theirs)) < 2 or len(ours) < 3:
            raise ValueError(
                f"{path}: {len(ours)} pairs of words have vectors, {len(missing)} have not, and "
                "there must be three that do, whose numbers are not all equal. Are the words "
                "spelt as in the vocabulary, for example in lower case?"
            )
        result = spearmanr(ours, theirs)
        return Correlation(float(result.statistic), float(result.pvalue), len(ours), missing)

    def plane(self, words: Sequence[str]) -> NDArray[np.float64]:
        """Return places of words in a plane, shape ``(words, 2)``, for `symrnn.plots.word_map`.

        The plane in which the unit vectors of these words differ most (principal components:
        Pearson, 1901). At least 3 words.
        """
        if len(words) < 3 or self.unit.shape[1] < 2:
            raise ValueError("a plane needs at least three words, and vectors of two features")
        x = self.unit[[self._id(word) for word in words]].astype(np.float64)
        u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        signs = np.sign(u[np.abs(u[:, :2]).argmax(axis=0), [0, 1]])
        return np.asarray(u[:, :2] * s[:2] * signs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a text file in word2vec's format, which gensim and others read; whole or not at all.

        The first line has the number of words and of features, each other line a word and its
        numbers, with spaces between. `load` gets the very same numbers back.

        Raises
        ------
        ValueError
            If a word contains a space or an end of line, which the format cannot hold.
        """  # noqa: E501
        for word in self.words:
            if re.search(r"[ \t\r\n\f\v]", word):
                raise ValueError(f"{word!r} contains a space, which a text file of vectors cannot")
        with replacing(Path(path)) as stream:
            stream.write(f"{len(self)} {self.vectors.shape[1]}\n".encode())
            for word, row in zip(self.words, self.vectors, strict=True):
                # the shortest texts that stand for just these numbers, in their own precision
                stream.write(f"{word} {' '.join(map(str, row))}\n".encode())

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], max_words: int | None = None, dtype: DTypeLike = "f4"
    ) -> "WordVectors":
        """Read a text file in word2vec's format.

        Parameters
        ----------
        path
            The file, in UTF-8.
        max_words
            How many words to read at most; files often begin with the most frequent ones.
        dtype
            Of the vectors.

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If it is damaged, or something else: the message names file and line.
        """
        if max_words is not None:
            check_sizes(max_words=max_words)
        with Path(path).open("rb") as file:
            lines = enumerate(file, 1)
            n, n_features = _head(next(lines, (1, b""))[1], f"{path}, line 1")
            n_read = n if max_words is None else min(n, max_words)
            vectors = np.empty((n_read, n_features), dtype)
            places: dict[str, int] = {}
            for line, content in lines:
                where = f"{path}, line {line}"
                if len(places) < n_read:
                    word, vectors[len(places)] = _word(content, n_features, where)
                    if word in places:
                        raise ValueError(f"{where}: {word!r} stands in line {places[word]} already")
                    places[word] = line
                elif n_read < n:
                    break
                elif content.strip():
                    raise ValueError(f"{where}: there are more lines than the {n} words of line 1")
        if len(places) < n_read:
            raise ValueError(
                f"{path} ends after line {len(places) + 1}, but line 1 says that there are {n} "
                "words: is it cut off?"
            )
        return cls(places, vectors)

    def _id(self, word: Any) -> int:
        try:
            return self._ids[word]
        except KeyError:
            near = difflib.get_close_matches(word, self.words) if isinstance(word, str) else []
            like = f" Spelt most like it: {', '.join(map(repr, near))}." if near else ""
            raise UnknownTokenError(
                word, 0, f"{word!r} is not among the {len(self)} words.{like}"
            ) from None

    def _target(self, a: Any, b: Any, c: Any) -> NDArray[Any]:
        return np.asarray(self.unit[b] - self.unit[a] + self.unit[c])

    def _best(self, direction: NDArray[Any], n: int, without: set[int]) -> list[tuple[str, float]]:
        check_sizes(n=n)
        scores = self.unit @ direction
        n = min(n, len(self) - len(without))
        several = min(n + len(without), len(self))
        best = np.argpartition(-scores, several - 1)[:several]
        best = best[np.lexsort((best, -scores[best]))]
        return [(self.words[k], float(scores[k])) for k in best.tolist() if k not in without][:n]


def read_similarities(
    path: str | os.PathLike[str], column: int = 3
) -> Iterator[tuple[str, str, float]]:
    """Yield the pairs of words of a file and people's judgement: see `WordVectors.correlation`."""
    if column < 3:
        raise ValueError(f"column is {column}, but the numbers stand in column 3 or after it")
    head = True  # as long as there has been no pair
    with Path(path).open(encoding="utf-8-sig") as file:
        for line, content in enumerate(file, 1):
            if not content.strip() or content.startswith("#"):
                continue
            separator = next((s for s in "\t,;" if s in content), None)
            fields = [field.strip() for field in content.strip().split(separator)]
            try:
                yield fields[0], fields[1], float(fields[column - 1])
            except (ValueError, IndexError):
                if not head or len(fields) < column:
                    raise ValueError(
                        f"{path}, line {line}: {_short(content)} must be two words and, in column "
                        f"{column}, a number"
                    ) from None
            head = False


def _head(line: bytes, where: str) -> tuple[int, int]:
    """Return how many words and features a file has."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(
            f"{where}: {_short(line)} must be how many words and how many features follow, for "
            "example '400000 100'. A file of GloVe vectors lacks this line: put it in front"
        )
    return int(parts[0]), int(parts[1])


def _word(line: bytes, n_features: int, where: str) -> tuple[str, list[float]]:
    """Return a word and its vector."""
    word, *numbers = line.rstrip(b" \r\n").split(b" ")
    if len(numbers) != n_features:
        raise ValueError(
            f"{where}: {_short(line)} has {len(numbers)} numbers after the word, but must have "
            f"{n_features}, as line 1 says, with one space between"
        )
    try:
        values = list(map(float, numbers))
    except ValueError as error:
        raise ValueError(f"{where}: of {_short(line)} not all is a number: {error}") from None
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: {_short(line)} has a number that is NaN or infinite")
    try:
        text = word.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: {_short(word)} is not in UTF-8: {error}") from None
    if not text:
        raise ValueError(f"{where}: there is no word before the numbers")
    return text, values


def _short(line: str | bytes) -> str:
    text = line.decode(errors="replace") if isinstance(line, bytes) else line
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= 60 else text[:57] + "...")
