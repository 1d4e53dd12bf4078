"""Where a search is kept: a file for each finished trial, locks, and the table."""

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from symrnn.search.results import Trial, table


@dataclass(frozen=True)
class Folder:
    """The folder of one search, as the main process and its workers see it.

    It holds ``search.json`` (whose search it is), ``trials/7.json`` for each finished trial, locks
    beside them, and ``results.csv``. Files are replaced as a whole, so that none is ever half
    written.
    """

    path: Path
    identity: str

    def is_here(self) -> bool:
        """Whether this process sees the folder: on another machine it may not."""
        try:
            return bool(_search(self.path)["identity"] == self.identity)
        except OSError:
            return False

    def read(self, index: int) -> Trial | None:
        """Return a finished trial; None if there is none, or its file is damaged."""
        try:
            return Trial(**json.loads(self.file(index).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, trial: Trial) -> None:
        """Keep a finished trial."""
        _write(self.file(trial.index), json.dumps(asdict(trial)))

    def write_table(self, trials: Mapping[int, Trial]) -> None:
        """Write ``results.csv``, with a row for each finished trial."""
        _write(self.path / "results.csv", table([trials[index] for index in sorted(trials)]))

    def claim(self, index: int, patient: bool) -> Any:
        """Lock a trial for a ``with`` block, which gets False if another process has it.

        A patient call waits for that process. The operating system frees the lock when the process
        that holds it ends, in whatever way.
        """
        return _locked(self.file(index).with_suffix(".lock"), patient)

    def file(self, index: int) -> Path:
        """Return where a trial is kept."""
        return self.path / "trials" / f"{index}.json"


def open_folder(path: Path, name: str, configs: list[dict[str, Any]]) -> Folder:
    """Make the folder, or check that it is that of this search, or of its beginning.

    Raises
    ------
    ValueError
        If it belongs to another search, or to something else.
    """
    path.mkdir(parents=True, exist_ok=True)
    visible = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    if "search.json" not in visible and visible - {"trials"}:
        raise ValueError(
            f"the folder {path} is neither empty nor that of a search: it holds {min(visible)!r}"
        )
    (path / "trials").mkdir(exist_ok=True)
    with _locked(path / "trials" / "search.lock", patient=True):
        known: dict[str, Any] = {"identity": uuid.uuid4().hex, "train": name, "configs": []}
        if "search.json" in visible or (path / "search.json").exists():
            known = _search(path)
        other, usual = f"the folder {path} is that of another search", "give this one its own"
        if known["train"] != name:
            raise ValueError(f"{other}: of {known['train']!r}, not of {name!r}; {usual}")
        for index, (old, new) in enumerate(zip(known["configs"], configs, strict=False)):
            if json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True):
                raise ValueError(f"{other}: its trial {index} has {old}, not {new}; {usual}")
        if len(configs) > len(known["configs"]):
            _write(path / "search.json", json.dumps({**known, "configs": configs}))
    return Folder(path, known["identity"])


def _search(path: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads((path / "search.json").read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path / 'search.json'} is damaged: give another folder") from error
    return known


def _write(file: Path, text: str) -> None:
    """Write a file, whole or not at all, whatever happens to this process or its machine."""
    beside = file.with_name(f".{file.name}-{os.getpid()}")
    with beside.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, file)


@contextmanager
def _locked(file: Path, patient: bool) -> Iterator[bool]:
    with file.open("a") as stream:
        yield _lock(stream.fileno(), patient)  # closing the file frees it


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, patient: bool) -> bool:
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not patient:
                    return False
                time.sleep(0.1)

else:
    import fcntl

    def _lock(descriptor: int, patient: bool) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
            return True
        except BlockingIOError:
            return False
