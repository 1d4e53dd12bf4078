"""Where a training's data are: the files that were meant, and whether they are still the same."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def absolute(paths: Sequence[str] | str | None) -> Any:
    """Return a path, or paths, as they are found from any folder; None remains None."""
    if paths is None or isinstance(paths, str):
        return paths and os.path.abspath(paths)
    return [os.path.abspath(path) for path in paths]


def check_no_model(*texts: str | None) -> None:
    """Check that no model was given where a text or a file of data is meant."""
    for text in texts:
        if text is not None and text.endswith(".safetensors"):
            raise ValueError(f"{text} is given as a text; a model is given with --model {text}")


def check_no_input(flag: str, path: Path, *, inputs: Iterable[Any]) -> None:
    """Check that what a command writes replaces none of the files that it reads.

    Parameters
    ----------
    flag
        The option that says what to write.
    path
        What will be written.
    inputs
        Files that the command reads; None is not given.
    """
    files = [Path(name) for name in inputs if name is not None]
    if path.exists() and any(file.exists() and path.samefile(file) for file in files):
        raise ValueError(f"{path} is read by this command: give another {flag}")


def check_unchanged(source: dict[str, Any], found: Any, *, what: str) -> None:
    """Note in a run's `source` what its data are; raise ValueError if they were others before."""
    if source.setdefault("found", found) != found:
        raise ValueError(
            f"{what} are not those that the training began with: put these back, say where they "
            "are, or train a new model"
        )
