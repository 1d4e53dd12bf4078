"""Corpora: from text files of any size to token ids in a memory-mapped file."""

import codecs
import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symrnn._files import replacing
from symrnn._validate import check_sizes
from symrnn.text.tokens import Tokenizer
from symrnn.text.vocabulary import Vocabulary

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def text_files(paths: Paths, *, endings: Sequence[str] = (".txt",)) -> list[Path]:
    """List the text files of a corpus.

    Parameters
    ----------
    paths
        A file, a folder, or several of them. A folder stands for all files in it and its
        subfolders that have one of the endings, sorted by name; hidden ones (``.name``) are left
        out.
    endings
        Which files of a folder are text, for example ``(".txt", ".md")``.

    Returns
    -------
    list of Path
        At least one file.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or none in a folder.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.txt", "a.txt", "notes.md"):
    ...     _ = (folder / name).write_text("text")
    >>> [file.name for file in text_files(folder)]
    ['a.txt', 'b.txt']
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    files: list[Path] = []
    for path in map(Path, given):
        found = [path]
        if path.is_dir():
            inside = sorted(path.rglob("*"), key=lambda file: file.relative_to(path).parts)
            found = [
                file
                for file in inside
                if file.is_file()
                and file.name.endswith(tuple(endings))
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
            ]
            if not found:
                raise FileNotFoundError(
                    f"there is no file in the folder {path} that ends with {' or '.join(endings)}: "
                    "name the endings of your texts"
                )
        elif not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        files += found
    if not files:
        raise FileNotFoundError("no file was named")
    return files


def read_pieces(
    paths: Paths,
    *,
    encoding: str = "utf-8",
    endings: Sequence[str] = (".txt",),
    piece_size: int = 2**20,
) -> Iterator[str]:
    r"""Read text files piece by piece, one after the other.

    A line end is added to a file that lacks one if another file follows.

    Parameters
    ----------
    paths
        A file, a folder, or several of them; see `text_files`.
    encoding
        Character encoding of the files, for example ``"latin-1"`` or ``"utf-16"``.
    endings
        Which files of a folder are text.
    piece_size
        How many bytes to read at once.

    Yields
    ------
    str
        Pieces of at most that many characters, which may end anywhere.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file is empty, binary or in another encoding; the message names file and byte.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = file.write_text("You say goodbye")
    >>> list(read_pieces(file, piece_size=8))
    ['You say ', 'goodbye']
    """
    try:
        "".encode(encoding)
    except LookupError as error:
        raise ValueError(
            f"{encoding!r} is not a text encoding that Python knows: the usual one is 'utf-8'"
        ) from error
    check_sizes(piece_size=piece_size)
    end = "\n"
    for file in text_files(paths, endings=endings):
        if end not in "\r\n":
            yield "\n"
        for piece in _read_file(file, encoding, piece_size):
            yield piece
            end = piece[-1]


def _read_file(file: Path, encoding: str, piece_size: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    may_hold_zeros = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    n_read, begun = 0, False
    with file.open("rb") as stream:
        while True:
            data = stream.read(piece_size)
            if b"\0" in data and not may_hold_zeros:
                raise ValueError(
                    f"{file} is not text in {encoding}: byte {n_read + data.index(0)} is zero. It "
                    "is a binary file, or a text in another encoding, for example 'utf-16'"
                )
            n_waiting = len(decoder.getstate()[0])  # bytes of a character that was cut
            try:
                piece = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                place = n_read - n_waiting + error.start
                raise ValueError(
                    f"{file} is not written in {encoding}: byte {place}, which is "
                    f"0x{error.object[error.start]:02x}, does not fit ({error.reason}). Name its "
                    "encoding, for example 'latin-1', 'cp1252' or 'utf-16'"
                ) from error
            except UnicodeError as error:  # UTF-16 without the mark that says its byte order
                raise ValueError(f"{file} is not written in {encoding}: {error}") from error
            n_read += len(data)
            if piece and not begun:
                piece, begun = piece.removeprefix("\ufeff"), True  # the mark of some editors
            if piece:
                yield piece
            if not data:
                break
    if not n_read:
        raise ValueError(f"{file} is empty")


def read_text(paths: Paths, *, encoding: str = "utf-8", endings: Sequence[str] = (".txt",)) -> str:
    """Read text files as one string.

    Parameters
    ----------
    paths
        A file, a folder, or several of them; see `text_files`.
    encoding
        Character encoding of the files, for example ``"latin-1"`` or ``"utf-16"``.
    endings
        Which files of a folder are text.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file is empty, binary or in another encoding; the message names file and byte.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = file.write_text("You say goodbye")
    >>> read_text(file)
    'You say goodbye'
    """
    return "".join(read_pieces(paths, encoding=encoding, endings=endings))


def count_tokens(pieces: Iterable[str], tokenizer: Tokenizer) -> Counter[str]:
    """Count the tokens of a text that is given in pieces, for `Vocabulary.build`.

    Examples
    --------
    >>> from symrnn.text import Characters
    >>> count_tokens(["to b", "e, or not"], Characters()).most_common(2)
    [('o', 3), (' ', 3)]
    """
    counts: Counter[str] = Counter()
    for tokens in tokenizer.tokenize_pieces([pieces] if isinstance(pieces, str) else pieces):
        counts.update(_character_counts(tokens) if isinstance(tokens, str) else tokens)
    return counts


def _character_counts(text: str) -> dict[str, int]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    counts = np.bincount(codes)
    found = np.flatnonzero(counts)
    return dict(zip(map(chr, found), counts[found].tolist(), strict=True))


def encode_files(
    paths: Paths,
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    *,
    cache: str | os.PathLike[str],
    encoding: str = "utf-8",
    endings: Sequence[str] = (".txt",),
) -> NDArray[Any]:
    """Encode text files into a file of token ids, and return them memory-mapped.

    Text is read, tokenized and encoded piece by piece, so a corpus may be larger than memory. The
    ids are in ``cache/tokens-....npy``, named by a hash of the texts, the tokenizer's settings and
    the vocabulary: the same call finds the file again, and reads the texts only to hash them. It is
    written atomically.

    Parameters
    ----------
    paths
        A file, a folder, or several of them; see `text_files`.
    tokenizer
        What cuts the texts into tokens.
    vocabulary
        What gives tokens their ids.
    cache
        A folder for the file, created if it is missing. Its contents can be deleted whenever they
        are not used.
    encoding
        Character encoding of the files, for example ``"latin-1"`` or ``"utf-16"``.
    endings
        Which files of a folder are text.

    Returns
    -------
    array of shape (tokens,)
        Read-only, of the vocabulary's `dtype`; `numpy.load` with ``mmap_mode="r"`` reads it too.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnknownTokenError
        If a token is unknown and the vocabulary has no ``<unk>``.
    ValueError
        If a file is empty, binary or in another encoding, or there is no token in the files.

    Examples
    --------
    >>> import tempfile
    >>> from symrnn.text import Characters
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("hello")
    >>> encode_files(folder, Characters(), Vocabulary("ehlo"), cache=folder).tolist()
    [1, 0, 2, 2, 3]
    """
    files = text_files(paths, endings=endings)
    made_by = ["symrnn tokens 1", unicodedata.unidata_version, tokenizer.settings()]
    digest = hashlib.sha256(json.dumps([*made_by, vocabulary.tokens, encoding]).encode())
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    path = Path(cache) / f"tokens-{digest.hexdigest()[:20]}.npy"
    if path.exists():
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        except (ValueError, EOFError):
            pass  # damaged: encode again
    n_tokens = 0
    with replacing(path) as out:
        out.write(_npy_header(vocabulary.dtype, 0))
        for tokens in tokenizer.tokenize_pieces(read_pieces(files, encoding=encoding)):
            ids = vocabulary.encode(tokens, first=n_tokens)
            out.write(ids.astype(vocabulary.dtype).tobytes())
            n_tokens += len(ids)
        if not n_tokens:
            raise ValueError(f"there is no token in {', '.join(map(str, files))}")
        out.seek(0)
        out.write(_npy_header(vocabulary.dtype, n_tokens))
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def _npy_header(dtype: np.dtype[Any], n: int) -> bytes:
    """Return the 128 bytes before the data in NumPy's file format, version 1.0."""
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (n,)}
    text = repr(about).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def python_topics() -> str:
    """Return English text that comes with Python: its help on the language.

    These are the topics of ``help()``, such as ``help("LOOPING")``, from Python's language
    reference, in alphabetical order: about 450,000 characters, somewhat different in each version
    of Python.

    Raises
    ------
    ModuleNotFoundError
        If this Python was installed without them.

    Examples
    --------
    >>> python_topics()[:22]
    'The "assert" statement'
    """
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError as error:  # some distributions leave it out
        raise ModuleNotFoundError(
            "this Python was installed without the texts of help(), pydoc_data: use one of "
            "python.org, or take another text"
        ) from error
    return "\n".join(topics[name] for name in sorted(topics))
