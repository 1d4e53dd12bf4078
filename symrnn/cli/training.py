"""A training as all commands run it: checks, the training itself, and its messages."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from symrnn.cli.options import check_saving
from symrnn.cli.progress import Progress, say
from symrnn.cli.settings import changes, in_flags
from symrnn.cli.sources import check_no_input
from symrnn.training.loop import NonFiniteLossError
from symrnn.training.run import TrainingRun

Run = TypeVar("Run", bound=TrainingRun)


@dataclass(frozen=True)
class Report:
    """How a kind of training is reported.

    Attributes
    ----------
    command
        The command's name, such as ``"lm"``.
    data
        Says what the data are.
    n_units, unit
        How much a step reads, and of what.
    describe
        Says a validation in words.
    """

    command: str
    data: str
    n_units: int
    unit: str
    describe: Callable[[dict[str, float]], str]


def load_to_resume(cls: type[Run], options: argparse.Namespace) -> Run:
    """Load a training with the changes that the options give."""
    check_saving(options)
    run = cls.load(options.model)
    with in_flags(cls.SETTINGS):
        run.change(**changes(options))
    return run


def load_best(cls: type[Run], path: Path) -> Run:
    """Load a training with the weights of its lowest validation loss."""
    run = cls.load(path)
    run.use_best()
    return run


def train_run(
    run: TrainingRun,
    training: Any,
    validation: Any,
    *,
    path: Path,
    options: argparse.Namespace,
    report: Report,
) -> int:
    """Train from where a run is, and return the exit status.

    Parameters
    ----------
    run
        The run.
    training, validation
        Its data.
    path
        The model's file.
    options
        With `minutes` and `save_every`.
    report
        How it is reported.
    """
    s = run.settings
    with in_flags(type(s)):
        n_batches = run.n_batches(training, validation)
    n_steps = run.total_steps(n_batches)
    if run.stopped:
        say(
            f"{path} was stopped early at step {run.n_done}: {s.patience} validations brought no "
            "lower loss; to train more: --patience with a higher number"
        )
        return 0
    if run.n_done >= n_steps:
        say(f"{path} is trained to its end, {run.n_done} steps; to train more: --epochs N")
        return 0
    say(f"{report.data}; {run.model.n_params:,} weights; {n_batches:,} steps an epoch")
    slowly = "; the first time this takes a minute or more" if s.mode == "NUMBA" else ""
    say(f"compiling{slowly}")
    progress = Progress(
        run, n_batches, picture=beside(path, ".png"), n_units=report.n_units, unit=report.unit,
        describe=report.describe,
    )  # fmt: skip
    is_new, saved_before = run.n_done == 0, _when_saved(path)
    limit = float("inf") if options.minutes is None else options.minutes
    try:
        history = run.train(
            training, validation, path=path, save_every=options.save_every, minutes=limit,
            each_step=progress.each_step, each_validation=progress.each_validation,
        )  # fmt: skip
    except NonFiniteLossError as error:
        raise ValueError(
            f"the loss is {error.loss} after step {run.n_done}: train again with a lower "
            f"--learning-rate or a lower --clip; {path} holds what was saved before"
        ) from error
    except KeyboardInterrupt:
        if is_new and _when_saved(path) == saved_before:
            say("\nstopped before anything was saved")
        else:
            resume = _how_to_resume(report.command, path)
            say(f"\nstopped at once; what was saved last is whole; {resume}")
        return 130
    finally:
        progress.close()
    if run.losses:
        best = run.losses[run.stopping.best_epoch - 1]
        say(
            f"best validation loss: {report.describe(best)}, at step {best['step']}, whose weights "
            f"are used; curves in {beside(path, '.png')}"
        )
    if run.stopping.is_over():
        say(f"stopped early at step {run.n_done}: the validation loss no longer falls")
    elif run.n_done < n_steps:
        resume = _how_to_resume(report.command, path)
        say(f"stopped at step {run.n_done} of {n_steps}; {resume}")
    say(f"saved: {path}")
    return 130 if history.interrupted else 0


def _when_saved(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _how_to_resume(command: str, path: Path) -> str:
    return f"to resume: python -m symrnn {command} resume --model {path}"


def beside(path: Path, ending: str) -> Path:
    """Return where what belongs to a model is: its picture, its text's token ids."""
    return path.with_name(path.name.removesuffix(".safetensors") + ending)


def check_out(path: Path, *, force: bool, command: str, inputs: Sequence[str | None] = ()) -> None:
    """Check before the long work that the model can be written, and overwrites nothing.

    Parameters
    ----------
    path
        The model's file.
    force
        Whether an old model may be overwritten.
    command
        The command's name, such as ``"lm"``.
    inputs
        Files that the command reads, which are never overwritten.
    """
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: give a file in it, --out {path / 'model.safetensors'}"
        )
    if path.suffix in (".png", ".tokens"):
        raise ValueError(
            f"{path} would be in the way of the picture or the token ids beside the model: give "
            f"another --out, such as {path.with_suffix('.safetensors')}"
        )
    picture = beside(path, ".png")
    for written in (path, picture):
        check_no_input("--out", written, inputs=inputs)
    if path.exists() and not force:
        raise ValueError(
            f"{path} exists: resume it ({command} resume --model {path}), give another --out, or "
            "--force to overwrite it"
        )
    if picture.exists() and not force:
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
