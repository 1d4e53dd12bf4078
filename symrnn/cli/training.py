"""What all commands that train share: checks, the training itself, and what is said of it."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from symrnn._validate import check_positive
from symrnn.cli.progress import Progress
from symrnn.compiling.allocator import keep_freed_memory
from symrnn.training.loop import NonFiniteLossError

Describe = Callable[[dict[str, float]], str]


def train_run(
    run: Any,
    training: Any,
    validation: Any,
    path: Path,
    options: argparse.Namespace,
    kind: str,
    what: str,
    n_units: int,
    unit: str,
    describe: Describe,
) -> int:
    """Train from where a run is, and return the exit status.

    Parameters
    ----------
    run
        A `symrnn.training.run.TrainingRun`.
    training, validation
        Its data.
    path
        The model's file.
    options
        With `minutes` and `save_every`.
    kind
        The command's name, such as ``"lm"``.
    what
        Says what the data are.
    n_units, unit
        How much a step takes, and of what.
    describe
        Says a validation in words.
    """
    s, n_batches = run.settings, run.n_batches(training, validation)
    n_steps = run.n_steps(n_batches)
    if run.stopped:
        say(
            f"{path} was stopped early at step {run.n_done}: {s.patience} validations brought no "
            "better loss; to train more: --patience with a higher number"
        )
        return 0
    if run.n_done >= n_steps:
        say(f"{path} is trained to its end, {run.n_done} steps; to train more: --epochs N")
        return 0
    n_weights = sum(p.get_value(borrow=True).size for p in run.params)
    say(f"{what}; {n_weights:,} weights; {n_batches:,} steps an epoch")
    slowly = "; the first time this takes a minute or more" if s.mode == "NUMBA" else ""
    say(f"compiling{slowly}")
    if s.mode == "NUMBA" and sys.platform != "linux":
        say("(outside Linux a first training and a resumed one differ in the seventh digit)")
    keep_freed_memory()
    progress = Progress(run, n_batches, beside(path, ".png"), n_units, unit, describe)
    is_new, saved_before = run.n_done == 0, _when_saved(path)
    limit = float("inf") if options.minutes is None else 60 * options.minutes
    try:
        history = run.train(
            training, validation, path, options.save_every, limit, progress.each_step,
            progress.each_validation,
        )  # fmt: skip
    except NonFiniteLossError as error:
        raise ValueError(
            f"the loss is {error.loss} after step {run.n_done}: train anew with a lower --rate or "
            f"a lower --clip; {path} holds what was saved before"
        ) from error
    except KeyboardInterrupt:
        if is_new and _when_saved(path) == saved_before:
            say("\nstopped before anything was saved")
        else:
            say(f"\nstopped at once; what was saved last is whole; {_how_to_go_on(kind, path)}")
        return 130
    finally:
        progress.close()
    if run.losses:
        best = run.losses[run.stopping.best_epoch - 1]
        say(
            f"best validation loss: {describe(best)}, at step {best['step']}, whose weights are "
            f"used; curves in {beside(path, '.png')}"
        )
    if run.stopped:
        say(f"stopped early at step {run.n_done}: the validation loss falls no more")
    elif run.n_done < n_steps:
        say(f"stopped at step {run.n_done} of {n_steps}; {_how_to_go_on(kind, path)}")
    say(f"saved: {path}")
    return 130 if history.interrupted else 0


def _when_saved(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _how_to_go_on(kind: str, path: Path) -> str:
    return f"to go on: python -m symrnn {kind} resume --model {path}"


def beside(path: Path, ending: str) -> Path:
    """Return where what belongs to a model lies: its picture, the numbers of its tokens."""
    return path.with_name(path.name.removesuffix(".safetensors") + ending)


def check_out(path: Path, force: bool, kind: str) -> None:
    """Check before the long work that the model can be written, and overwrites nothing."""
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: give a file in it, --out {path / 'model.safetensors'}"
        )
    if path.suffix in (".png", ".tokens"):
        raise ValueError(
            f"{path} would be in the way of the picture or the tokens that lie beside the model: "
            f"give another --out, such as {path.with_suffix('.safetensors')}"
        )
    if path.exists() and not force:
        raise ValueError(
            f"{path} exists: go on with it ({kind} resume --model {path}), give another --out, or "
            "--force to overwrite it"
        )
    if (picture := beside(path, ".png")).exists() and not force:
        raise ValueError(
            f"{picture} exists, and the curves would be drawn there: give another --out, or "
            "--force to overwrite it"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror}): give another --out") from error


def check_least(*options: tuple[str, int | None, int]) -> None:
    """Check that numbers, each with its option's name, are not below the least possible."""
    for flag, value, least in options:
        if value is not None and value < least:
            raise ValueError(f"{flag} is {value}, but must be {least} or more")


def check_count(flag: str, value: int | None, most: int) -> None:
    """Check a number of tokens."""
    if value is not None and not 1 <= value <= most:
        raise ValueError(
            f"{flag} is {value}, but must be from 1 to {most}, as many as the model has tokens"
        )


def check_times(options: argparse.Namespace) -> None:
    """Check the options of `symrnn.cli.options.add_saving`."""
    if options.minutes is not None:
        check_positive("--minutes", options.minutes)
    check_positive("--save-every", options.save_every, or_zero=True)


def say(text: str) -> None:
    """Tell the person something that is no result."""
    print(text, file=sys.stderr, flush=True)
