"""A training's settings as options: each has its setting's name, and errors speak of the option."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from symrnn.cli.options import add_model, add_out, add_saving
from symrnn.nn.cells import CELLS
from symrnn.training.settings import (
    MODES,
    OPTIMIZERS,
    SCHEDULES,
    RecurrentSettings,
    TrainingSettings,
)

S = TypeVar("S", bound=TrainingSettings)


def flag(name: str) -> str:
    """Return the option of a setting.

    >>> flag("n_hidden"), flag("learning_rate")
    ('--hidden', '--learning-rate')
    """
    return "--" + name.removeprefix("n_").replace("_", "-")


def add_setting(
    group: Any, defaults: TrainingSettings, name: str, text: str = "", **options: Any
) -> None:
    """Add the option of a setting, whose default is that of the settings."""
    default = getattr(defaults, name)
    if isinstance(default, bool):
        group.add_argument(flag(name), dest=name, action="store_true", help=text)
        return
    if "choices" not in options:
        options |= {"metavar": "N" if isinstance(default, int) else "X"}
    group.add_argument(
        flag(name), dest=name, type=type(default), default=default,
        help=f"{text} (default: {default})".strip(), **options,
    )  # fmt: skip


def add_net(group: Any, defaults: RecurrentSettings) -> None:
    """Add the options that any recurrent net has."""
    add_setting(group, defaults, "cell", choices=sorted(CELLS))
    add_setting(group, defaults, "n_embed", "embedding size")
    add_setting(group, defaults, "n_hidden", "hidden units of each layer")
    add_setting(group, defaults, "n_layers", "recurrent layers")
    add_setting(group, defaults, "dropout", "fraction of features dropped in training")


def add_training(group: Any, defaults: TrainingSettings, *, model: str, batch: str) -> None:
    """Add the options that any new training has; `batch` says what a batch consists of."""
    add_setting(group, defaults, "epochs", "passes through the data")
    add_setting(group, defaults, "batch_size", batch)
    names = sorted(OPTIMIZERS)
    add_setting(group, defaults, "optimizer", ", ".join(names), choices=names, metavar="NAME")
    add_setting(group, defaults, "learning_rate", "the highest learning rate")
    add_setting(
        group, defaults, "schedule",
        "of the learning rate: constant; linear: down to 0 over the second half; cosine: down to 0 "
        "from the start; plateau: divided by 4 when the validation loss does not fall",
        choices=SCHEDULES,
    )  # fmt: skip
    add_setting(group, defaults, "clip", "largest norm of the gradients")
    _add_patience(group)
    add_setting(group, defaults, "validate_every", "at most this many steps between validations")
    add_setting(group, defaults, "seed", "of initial weights, order of the data and dropout")
    add_setting(group, defaults, "mode", "mode of PyTensor", choices=MODES)
    add_saving(group)
    add_out(group, model)


def add_changes(parser: Any, *, model: str) -> None:
    """Add the options of a training that is resumed."""
    parser.add_argument(
        "--epochs",
        type=float,
        metavar="X",
        help="passes in all, those done included; the schedule ends with the last",
    )
    parser.add_argument("--learning-rate", type=float, metavar="X", help="a new learning rate")
    _add_patience(parser)
    add_model(parser, model)
    add_saving(parser)


def _add_patience(parser: Any) -> None:
    parser.add_argument(
        "--patience", type=int, metavar="N",
        help="stop after N validations in a row without a lower loss (default: never)",
    )  # fmt: skip


def changes(options: Any) -> dict[str, Any]:
    """Return what is given of `add_changes`, for `TrainingRun.change`."""
    given = {name: getattr(options, name) for name in ("epochs", "learning_rate", "patience")}
    return {name: value for name, value in given.items() if value is not None}


def new_settings(cls: type[S], options: Any) -> S:
    """Return settings with the values of the options."""
    with in_flags(cls):
        return cls(**{f.name: getattr(options, f.name) for f in fields(cls)})


@contextmanager
def in_flags(cls: type[TrainingSettings]) -> Iterator[None]:
    """Let errors call the settings by their options: ``--hidden is 0``, not ``n_hidden is 0``."""
    names = [f.name for f in fields(cls)]
    compound = "|".join(name for name in names if "_" in name)
    simple = "|".join(name for name in names if "_" not in name)  # words that messages have, too
    try:
        yield
    except ValueError as error:
        pattern = rf"\b({compound})\b|\b({simple})\b(?= is )"
        text = re.sub(pattern, lambda found: flag(found[0]), str(error))
        raise ValueError(text) from error
