"""Files of word vectors, and of the analogies and similarities that they are tested on."""

import math
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from symrnn._files import replacing
from symrnn._validate import check_sizes
from symrnn.text.lines import quoted

Question = tuple[str, str, str, str]
"""``(a, b, c, d)``: a is to b as c is to d."""


def read_vectors(
    path: str | os.PathLike[str], *, max_words: int | None = None, dtype: DTypeLike = "f4"
) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Read words and vectors from a text file in word2vec's format: see `WordVectors.load`."""
    if max_words is not None:
        check_sizes(max_words=max_words)
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise ValueError(f"dtype is {dtype}, but must be a float, such as 'f4' or 'f8'")
    path = Path(path)
    with path.open("rb") as file, np.errstate(over="ignore"):
        lines = enumerate(file, 1)
        n, n_features = _sizes(next(lines, (1, b""))[1], f"{path}, line 1")
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
    return tuple(places), vectors


def write_vectors(
    path: str | os.PathLike[str], words: tuple[str, ...], vectors: NDArray[Any]
) -> None:
    """Write words and vectors to a text file in word2vec's format: see `WordVectors.save`."""
    for word in words:
        if re.search(r"[ \t\r\n\f\v]", word):
            raise ValueError(f"{word!r} contains a space, which a text file of vectors cannot")
    with replacing(Path(path)) as stream:
        stream.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, row in zip(words, vectors, strict=True):
            # the shortest decimals that give exactly these numbers back, in their own precision
            stream.write(f"{word} {' '.join(map(str, row))}\n".encode())


def read_similarities(
    path: str | os.PathLike[str], *, column: int = 3
) -> Iterator[tuple[str, str, float]]:
    r"""Yield pairs of words and how similar people judged them to be.

    Parameters
    ----------
    path
        A text file in UTF-8 with one pair per line: two words and a number, with tabs, commas,
        semicolons or spaces between them, as in WordSim-353 (Finkelstein et al., 2002). Blank
        lines and those that begin with # are left out; the first line may be a header.
    column
        Which column holds the number, from 3; 4 for SimLex-999 (Hill et al., 2015).

    Yields
    ------
    (str, str, float)
        Two words and the number.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If a line is something else or not in UTF-8; the message names file and line.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.txt"
    >>> _ = path.write_text("Word 1\tWord 2\tMean\ntiger\tcat\t7.35\n")
    >>> list(read_similarities(path))
    [('tiger', 'cat', 7.35)]
    """
    if column < 3:
        raise ValueError(f"column is {column}, but the numbers stand in column 3 or after it")
    header = True  # may still come
    for line, content in _lines(path):
        if content.startswith("#"):
            continue
        separator = next((s for s in "\t,;" if s in content), None)
        fields = [field.strip() for field in content.split(separator)]
        maybe_header, header = header and len(fields) >= column, False
        try:
            score = float(fields[column - 1])
        except (ValueError, IndexError):
            if maybe_header:
                continue
            score = math.nan
        if not math.isfinite(score):
            raise ValueError(
                f"{path}, line {line}: {quoted(content)} must be two words and, in column "
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
        A text file in UTF-8 with one question per line, four words with spaces or tabs between. A
        line such as ``: capitals`` begins a section. Blank lines are left out.
    lower
        Convert to lowercase.

    Returns
    -------
    dict
        The questions of each section by its name; ``""`` has those before the first section.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If a line is something else or not in UTF-8, or there are no questions; the message names
        file and line.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "questions.txt"
    >>> _ = path.write_text(": family\nman woman king queen\nman woman boy girl\n")
    >>> read_analogies(path)
    {'family': [('man', 'woman', 'king', 'queen'), ('man', 'woman', 'boy', 'girl')]}
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
                f"{path}, line {line}: {quoted(content)} must be four words, a is to b as c is to "
                "d, or ': ' and the name of a section"
            )
        a, b, c, d = words
        found.setdefault(section, []).append((a, b, c, d))
    if not found:
        raise ValueError(f"{path} holds no questions, which are lines of four words")
    return found


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not blank."""
    with Path(path).open("rb") as file:
        for line, content in enumerate(file, 1):
            try:
                text = content.decode("utf-8-sig" if line == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {line}: {quoted(content)} is not in UTF-8: {error}"
                ) from None
            if text:
                yield line, text


def _sizes(line: bytes, where: str) -> tuple[int, int]:
    """Return the number of words and of features from the first line."""
    parts = line.removeprefix(BOM_UTF8).split()
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(
            f"{where}: {quoted(line)} must be how many words and how many features follow, for "
            "example '400000 100'. A file of GloVe vectors lacks this line: put it in front"
        )
    return int(parts[0]), int(parts[1])


def _word(line: bytes, n_features: int, dtype: Any, where: str) -> tuple[str, NDArray[Any]]:
    """Return a word and its vector."""
    word, *numbers = line.rstrip(b" \r\n").split(b" ")
    if len(numbers) != n_features:
        raise ValueError(
            f"{where}: {quoted(line)} has {len(numbers)} numbers after the word, but must have "
            f"{n_features}, as line 1 says, with one space between{_binary(line)}"
        )
    try:
        values = np.array(list(map(float, numbers)), dtype)
    except ValueError as error:
        raise ValueError(
            f"{where}: {quoted(line)} has something that is not a number: {error}{_binary(line)}"
        ) from None
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: {quoted(line)} has a number that is NaN or infinite as {dtype}")
    try:
        text = word.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: {quoted(word)} is not in UTF-8: {error}") from None
    if not text:
        raise ValueError(f"{where}: there is no word before the numbers")
    return text, values


def _binary(line: bytes) -> str:
    """Return a hint if a line looks like word2vec's binary format."""
    if not re.search(rb"[\x00-\x08\x0e-\x1f]", line):
        return ""
    return (
        ". It looks like word2vec's binary format: gensim reads it (KeyedVectors."
        "load_word2vec_format(path, binary=True)) and saves it as text (save_word2vec_format)"
    )
