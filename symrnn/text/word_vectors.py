"""Words and their vectors: neighbours, analogies, comparison with people, files.

From a text to vectors (here a tiny one; `symrnn.text` tells how files become tokens):

>>> from symrnn.models.word2vec import SkipGram
>>> from symrnn.text import Vocabulary
>>> from symrnn.text.alias_sampler import AliasSampler
>>> from symrnn.text.contexts import skip_gram_batches
>>> words = 50 * "the cat sleeps . the dog sleeps . a car stops . a bus stops .".split()
>>> vocabulary, rng = Vocabulary.build(words, specials=()), np.random.default_rng(1)
>>> tokens, end = vocabulary.encode(words), vocabulary["."]
>>> model, noise = SkipGram(len(vocabulary), 8, rng), AliasSampler(vocabulary.counts**0.75)
>>> step = model.compile_negative_sampling(learning_rate=1.0, mode="FAST_COMPILE")
>>> for _ in range(10):
...     for word, context in skip_gram_batches(tokens, window=2, batch_size=32, rng=rng, end=end):
...         loss = step(word, context, noise.draw((len(word), 5), rng=rng))
>>> vectors = WordVectors(vocabulary.tokens, model.W_in.get_value())
>>> vectors.nearest("cat", n=1)[0][0], vectors.nearest("car", n=1)[0][0]
('dog', 'bus')
"""

import difflib
import math
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from symrnn._files import replacing
from symrnn._validate import check_sizes
from symrnn.text.counting import unit_rows
from symrnn.text.vocabulary import UnknownTokenError

Question = tuple[str, str, str, str]
"""``(a, b, c, d)``: a is to b as c is to d."""

BLOCK = 256  # questions that are answered at a time
COMPARED = 10_000  # words whose spelling is compared with that of an unknown one


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
    >>> w.nearest("man", n=2)
    [('king', 1.0), ('queen', 0.9486832980505138)]
    >>> [word for word, _ in w.analogy("man", "woman", "king", n=1)]  # as king is to ...
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
        return _within_one(self.unit[self._id(a)] @ self.unit[self._id(b)])

    def nearest(self, word: str | ArrayLike, *, n: int = 10) -> list[tuple[str, float]]:
        """Return the n words with the largest cosines to a word, which is not among them.

        In place of a word one may give a vector of shape ``(features,)``, of finite numbers.
        """
        if isinstance(word, str):
            k = self._id(word)
            return self._best(self.unit[k], n, {k})
        try:
            vector = np.asarray(word, dtype=self.unit.dtype)
        except (TypeError, ValueError):
            raise ValueError(
                f"{word!r} is neither a word nor a vector of numbers: ask for one word at a time"
            ) from None
        if vector.shape != self.unit.shape[1:]:
            raise ValueError(f"the vector has shape {vector.shape}, not {self.unit.shape[1:]}")
        return self._best(unit_rows(vector[None])[0], n, set())

    def analogy(self, a: str, b: str, c: str, *, n: int = 10) -> list[tuple[str, float]]:
        """Return the n best words x for "a is to b as c is to x".

        The words nearest to ``b - a + c``, each of length 1 (Mikolov et al., 2013c), without a, b
        and c themselves.
        """
        ids = [self._id(word) for word in (a, b, c)]
        return self._best(unit_rows(self._target(*ids)[None])[0], n, set(ids))

    def known(self, questions: Iterable[Question]) -> list[Question]:
        """Return the questions whose words all have vectors.

        Usually accuracy is that on these alone, told with how many they are of how many.
        """
        return [q for q in questions if all(word in self for word in q)]

    def solves(self, questions: Sequence[Question]) -> NDArray[np.bool_]:
        """For each ``(a, b, c, d)``, whether d is the best x for "a is to b as c is to x".

        Parameters
        ----------
        questions
            At least one, of words that have vectors: of a file of others, for example of
            `read_analogies`, take those that are `known`.

        Returns
        -------
        array of shape (questions,)
            The mean is the share of right answers. A question whose d is one of a, b and c cannot
            be solved, for these are no answers.
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
            If a line is something else or not in UTF-8: the message names file and line. If fewer
            than three pairs have vectors, or all numbers are equal, so that there is no order to
            compare.
        """
        from scipy.stats import spearmanr  # takes longer to import than all the rest

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
        numbers, with spaces between. `load` with the dtype of these vectors gets the very same
        numbers back; by default it reads float32.

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
            Of the vectors: a float.

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If it is damaged, or something else: the message names file and line. If `dtype` is no
            float.
        """
        if max_words is not None:
            check_sizes(max_words=max_words)
        dtype = np.dtype(dtype)
        if dtype.kind != "f":
            raise ValueError(f"dtype is {dtype}, but must be a float, such as 'f4' or 'f8'")
        path = Path(path)
        with path.open("rb") as file, np.errstate(over="ignore"):
            lines = enumerate(file, 1)
            n, n_features = _head(next(lines, (1, b""))[1], f"{path}, line 1")
            n_read = n if max_words is None else min(n, max_words)
            least = n_read * (2 * n_features + 2)  # a letter, and for each number a space and digit
            if path.is_file() and path.stat().st_size < least:
                raise ValueError(
                    f"{path}, line 1: {n} words with {n_features} numbers each do not fit into a "
                    f"file of {path.stat().st_size} bytes: is it cut off?"
                )
            vectors = np.empty((n_read, n_features), dtype)
            places: dict[str, int] = {}
            for line, content in lines:
                where = f"{path}, line {line}"
                if len(places) < n_read:
                    word, vectors[len(places)] = _word(content, n_features, dtype, where)
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
            near = (
                difflib.get_close_matches(word, self._like(word)) if isinstance(word, str) else []
            )
            like = f" Spelt most like it: {', '.join(map(repr, near))}." if near else ""
            raise UnknownTokenError(
                word, 0, f"{word!r} is not among the {len(self)} words.{like}"
            ) from None

    def _like(self, word: str) -> list[str]:
        """Return what to compare with: of many words those of like beginning and length."""
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


def read_similarities(
    path: str | os.PathLike[str], *, column: int = 3
) -> Iterator[tuple[str, str, float]]:
    """Yield the pairs of words of a file and people's judgement: see `WordVectors.correlation`."""
    if column < 3:
        raise ValueError(f"column is {column}, but the numbers stand in column 3 or after it")
    head = True  # as long as there has been no pair
    for line, content in _lines(path):
        if content.startswith("#"):
            continue
        separator = next((s for s in "\t,;" if s in content), None)
        fields = [field.strip() for field in content.split(separator)]
        maybe_head, head = head and len(fields) >= column, False
        try:
            score = float(fields[column - 1])
        except (ValueError, IndexError):
            if maybe_head:
                continue
            score = math.nan
        if not math.isfinite(score):
            raise ValueError(
                f"{path}, line {line}: {_short(content)} must be two words and, in column "
                f"{column}, a number"
            )
        yield fields[0], fields[1], score


def read_analogies(
    path: str | os.PathLike[str], *, lower: bool = False
) -> dict[str, list[Question]]:
    r"""Read questions "a is to b as c is to d", such as word2vec's questions-words.txt.

    Parameters
    ----------
    path
        A text file in UTF-8 with a question a line, four words with spaces or tabs between. A line
        such as ``: capitals`` begins a section. Blank lines are left out.
    lower
        Whether to make the words lower case, as those of many vocabularies are.

    Returns
    -------
    dict
        The questions of each section by its name; ``""`` has those before the first section.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If a line is something else or not in UTF-8: the message names file and line. If there are
        no questions.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "questions.txt"
    >>> _ = path.write_text(": family\nman woman king queen\nman woman boy girl\n")
    >>> w = WordVectors(["man", "woman", "king", "queen"], [[1.0, 0], [1, 1], [3, 0], [3, 1]])
    >>> for section, questions in read_analogies(path).items():
    ...     known = w.known(questions)  # "boy" has no vector
    ...     print(section, w.solves(known).mean(), f"{len(known)} of {len(questions)}")
    family 1.0 1 of 2
    """
    found: dict[str, list[Question]] = {}
    section = ""
    for line, content in _lines(path):
        if content.startswith(":"):
            section = content[1:].strip()
            continue
        words = (content.lower() if lower else content).split()
        if len(words) != 4:
            raise ValueError(
                f"{path}, line {line}: {_short(content)} must be four words, a is to b as c is to "
                "d, or ': ' and the name of a section"
            )
        a, b, c, d = words
        found.setdefault(section, []).append((a, b, c, d))
    if not found:
        raise ValueError(f"{path} holds no questions, which are lines of four words")
    return found


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of a file that is not blank."""
    with Path(path).open("rb") as file:
        for line, content in enumerate(file, 1):
            try:
                text = content.decode("utf-8-sig" if line == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {line}: {_short(content)} is not in UTF-8: {error}"
                ) from None
            if text:
                yield line, text


def _head(line: bytes, where: str) -> tuple[int, int]:
    """Return how many words and features a file has."""
    parts = line.removeprefix(BOM_UTF8).split()
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(
            f"{where}: {_short(line)} must be how many words and how many features follow, for "
            "example '400000 100'. A file of GloVe vectors lacks this line: put it in front"
        )
    return int(parts[0]), int(parts[1])


def _word(line: bytes, n_features: int, dtype: Any, where: str) -> tuple[str, NDArray[Any]]:
    """Return a word and its vector."""
    word, *numbers = line.rstrip(b" \r\n").split(b" ")
    if len(numbers) != n_features:
        raise ValueError(
            f"{where}: {_short(line)} has {len(numbers)} numbers after the word, but must have "
            f"{n_features}, as line 1 says, with one space between{_binary(line)}"
        )
    try:
        values = np.array(list(map(float, numbers)), dtype)
    except ValueError as error:
        raise ValueError(
            f"{where}: of {_short(line)} not all is a number: {error}{_binary(line)}"
        ) from None
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: {_short(line)} has a number that is NaN or infinite as {dtype}")
    try:
        text = word.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: {_short(word)} is not in UTF-8: {error}") from None
    if not text:
        raise ValueError(f"{where}: there is no word before the numbers")
    return text, values


def _binary(line: bytes) -> str:
    """Return what else to say about a line that holds control characters."""
    if not re.search(rb"[\x00-\x08\x0e-\x1f]", line):
        return ""
    return (
        ". It looks like word2vec's binary format: gensim reads it (KeyedVectors."
        "load_word2vec_format(path, binary=True)) and saves it as text (save_word2vec_format)"
    )


def _within_one(cosine: Any) -> float:
    """Take off what rounding has put beyond 1 or -1."""
    return max(-1.0, min(1.0, float(cosine)))


def _short(line: str | bytes) -> str:
    text = line.decode(errors="replace") if isinstance(line, bytes) else line
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= 60 else text[:57] + "...")
