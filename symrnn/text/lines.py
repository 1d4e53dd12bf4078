"""Text files that are read line by line: what the readers of pairs, dialogues and vectors share."""

import os
from pathlib import Path

from symrnn.text.corpora import read_text
from symrnn.text.tokens import normalize


def read_lines(
    path: str | os.PathLike[str], *, encoding: str, separator: str | None, wanted: str
) -> list[tuple[int, str]]:
    """Return number, from 1, and text of each line; the separator that it is cut at is checked."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file with {wanted}")
    if separator is not None and not separator.strip(" "):
        raise ValueError(
            f"the separator is {separator!r}, but must be something other than spaces, which are "
            "left out around each part: for example '\\t' or ';'"
        )
    text = normalize(read_text(path, encoding=encoding), form=None)
    return list(enumerate(text.split("\n"), 1))


def quoted(line: str | bytes) -> str:
    """Return a line for an error message: in quotes, cut to 60 characters."""
    text = line.decode(errors="replace") if isinstance(line, bytes) else line
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= 60 else text[:57] + "...")
