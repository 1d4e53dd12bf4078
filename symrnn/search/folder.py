"""Where a search is kept: a file for each finished trial, locks, and the table."""

import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from symrnn._files import replacing
from symrnn.search.results import Trial, table


@dataclass(frozen=True)
class Folder:
    """The folder of one search, as the main process and its workers see it.

    It holds ``search.json`` (which search it is), ``trials/7.json`` for each finished trial, locks
    beside them, and ``results.csv``. Files are replaced atomically: none is ever half written.
    """

    path: Path
    identity: str

    def is_here(self) -> bool:
        """Whether this process sees the folder: on another machine it may not."""
        try:
            return bool(_search(self.path)["identity"] == self.identity)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self, index: int, config: dict[str, Any] | None = None) -> Trial | None:
        """Return a finished trial; None if there is none, or its file is damaged.

        A file that exists but cannot be read now is an error: to run the trial again would
        overwrite it.
        """
        try:
            trial = Trial(**json.loads(self.file(index).read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        fits = isinstance(trial.config, dict) and isinstance(trial.metrics, dict)
        fits = fits and trial.index == index and (config is None or same(trial.config, config))
        return trial if fits else None

    def write(self, trial: Trial) -> None:
        """Keep a finished trial."""
        _write(self.file(trial.index), json.dumps(asdict(trial)))

    def write_table(self, known: Mapping[int, Trial]) -> None:
        """Write ``results.csv``, with a row for each finished trial, also those of other calls."""
        trials = dict(known)
        for file in (self.path / "trials").glob("[0-9]*.json"):
            if file.stem.isdecimal() and int(file.stem) not in trials:
                trial = self.read(int(file.stem))
                if trial is not None:
                    trials[trial.index] = trial
        _write(self.path / "results.csv", table([trials[index] for index in sorted(trials)]))

    def claim(self, index: int, patient: bool) -> Any:
        """Lock a trial for a ``with`` block, which gets False if another process has it.

        A patient call waits for that process. The operating system releases the lock when the
        process ends, for whatever reason; if it is killed and had forked, when its children end.
        """
        return _locked(self.file(index).with_suffix(".lock"), patient)

    def holder(self, index: int) -> str:
        """Return host and id of the process that holds a trial, or was killed while it did."""
        try:
            return self.file(index).with_suffix(".lock").read_text("utf-8").strip()
        except OSError:
            return ""

    def file(self, index: int) -> Path:
        """Return where a trial is kept."""
        return self.path / "trials" / f"{index}.json"


def open_folder(path: Path, name: str, configs: list[dict[str, Any]]) -> Folder:
    """Make the folder, or check that it holds this search or its beginning."""
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
            if not same(old, new):
                raise ValueError(f"{other}: its trial {index} has {old}, not {new}; {usual}")
        if len(configs) > len(known["configs"]):
            _write(path / "search.json", json.dumps({**known, "configs": configs}))
    return Folder(path, known["identity"])


def same(a: Any, b: Any) -> bool:
    """Whether two configurations are stored alike; NaN is like NaN."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def _search(path: Path) -> dict[str, Any]:
    try:
        known: Any = json.loads((path / "search.json").read_text("utf-8"))
    except ValueError:
        known = None
    if not isinstance(known, dict) or not {"identity", "train", "configs"} <= set(known):
        raise ValueError(
            f"{path / 'search.json'} is damaged, or not that of a search: give another folder"
        )
    return known


def _write(file: Path, text: str) -> None:
    with replacing(file) as stream:
        stream.write(text.encode(errors="backslashreplace"))


@contextmanager
def _locked(file: Path, patient: bool) -> Iterator[bool]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        locked = _lock(descriptor, patient)
        if locked:
            _note(descriptor, f"process {os.getpid()} on {socket.gethostname()}")
        try:
            yield locked
        finally:
            if locked:
                _note(descriptor, "")
                _unlock(descriptor)  # a child that was forked has the file open too
    finally:
        os.close(descriptor)


def _note(descriptor: int, text: str) -> None:
    """Write into a lock file who holds it; this is only told to the user, so errors are ignored."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text.encode())


if sys.platform == "win32":
    import msvcrt

    _PLACE = 2**30  # the byte that is locked; what is locked cannot be read by others

    def _lock(descriptor: int, patient: bool) -> bool:
        while True:
            try:
                os.lseek(descriptor, _PLACE, os.SEEK_SET)
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not patient:
                    return False
                time.sleep(0.1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _PLACE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int, patient: bool) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            raise OSError(
                error.errno,
                f"the file system of the folder cannot lock files ({error.strerror}): "
                "give a folder on another one",
            ) from error

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
