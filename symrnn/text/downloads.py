"""Downloads that resume when they are interrupted."""

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from symrnn._validate import check_sizes


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    checksum: str | None = None,
    attempts: int = 3,
    timeout: float = 30,
) -> Path:
    """Download a file, unless it is there already; resume where a download was interrupted.

    A partial download is kept beside it, in ``path.part``. When the connection breaks, the download
    resumes from there, at once and also in a later call. `path` appears only when the file is
    complete and its checksum agrees.

    Parameters
    ----------
    url, path
        Where from, and where to; missing folders are created.
    checksum
        ``"md5:..."``, ``"sha256:..."`` or the like, in hexadecimal digits. Without one, only the
        length is checked, if the server states it, and nothing guards against joining parts of two
        different files.
    attempts
        How often to connect if the connection breaks or cannot be made.
    timeout
        How many seconds the server may be silent.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ConnectionError
        If the server cannot be reached, does not have the file, or breaks off every time.
    ValueError
        If the checksum does not agree; the partial download is then deleted.

    Examples
    --------
    >>> download("https://www.gutenberg.org/files/11/11-0.txt", "alice.txt")  # doctest: +SKIP
    PosixPath('alice.txt')
    """
    path = Path(path)
    check_sizes(attempts=attempts)
    if checksum is not None and checksum.partition(":")[0] not in hashlib.algorithms_guaranteed:
        raise ValueError(f"{checksum!r} is not a checksum: write, for example, 'sha256:0123...'")
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
                    f"could not download {url}: {error}. Without a network, get the file "
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
        raise OSError("the file there is shorter than the partial download") from error
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
            f"the download from {url} has the checksum {name}:{found}, but should have {checksum}: "
            "the file there has changed, or was altered on the way. It was deleted"
        )
