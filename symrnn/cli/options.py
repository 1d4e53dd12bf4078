"""Options that several commands have, and their help."""

from pathlib import Path
from typing import Any

from symrnn.training.settings import MODES, RULES, SCHEDULES, TrainingSettings


def add_command(commands: Any, name: str, run: Any, text: str, epilog: str | None = None) -> Any:
    """Add a command that calls `run` with its options."""
    parser = commands.add_parser(name, help=text, description=text, epilog=epilog)
    parser.set_defaults(run=run)
    return parser


def option(
    group: Any, settings: TrainingSettings, flag: str, name: str, text: str, **options: Any
) -> None:
    """Add an option that is one of the settings, whose values are the defaults."""
    default = getattr(settings, name)
    if isinstance(default, bool):
        group.add_argument(flag, dest=name, action="store_true", help=text)
        return
    if "choices" not in options:
        options |= {"metavar": "N" if isinstance(default, int) else "X"}
    group.add_argument(
        flag, dest=name, type=type(default), default=default,
        help=f"{text} (default: {default})".strip(), **options,
    )  # fmt: skip


def add_model(parser: Any, model: str, mode: str | None, default: str) -> None:
    """Add the options of commands that use a model."""
    parser.add_argument(
        "--model", type=Path, default=Path(model), metavar="FILE", help=f"(default: {model})"
    )
    parser.add_argument(
        "--mode", choices=MODES, default=mode, help=f"of PyTensor (default: {default})"
    )


def add_training(group: Any, settings: TrainingSettings, model: str) -> None:
    """Add the options that any new training has, but for the batches."""
    option(group, settings, "--rule", "rule", "", choices=sorted(RULES))
    option(group, settings, "--rate", "rate", "learning rate")
    option(
        group, settings, "--schedule", "schedule",
        "constant; linear: down to 0 over the second half; cosine: down to 0 from the start; "
        "plateau: divided by 4 when the validation loss does not fall", choices=SCHEDULES,
    )  # fmt: skip
    option(group, settings, "--clip", "clip", "largest norm of the gradients")
    group.add_argument(
        "--patience", type=int, metavar="N", help="stop after N validations without a better loss"
    )
    option(group, settings, "--validate-every", "validate_every", "after so many steps at most")
    option(group, settings, "--seed", "seed", "for first weights, order and dropout")
    option(group, settings, "--mode", "mode", "of PyTensor", choices=MODES)
    add_saving(group)
    group.add_argument(
        "--out", type=Path, default=Path(model), metavar="FILE", help=f"(default: {model})"
    )
    group.add_argument("--force", action="store_true", help="overwrite --out")


def add_saving(parser: Any) -> None:
    """Add what says when to save, and when to stop."""
    parser.add_argument(
        "--minutes", type=float, metavar="M",
        help="save and stop after so long, compiling apart; the schedule follows --epochs",
    )  # fmt: skip
    parser.add_argument(
        "--save-every", type=float, default=30, metavar="S", help="seconds (default: 30)"
    )


def add_changes(parser: Any, model: str) -> None:
    """Add the options of a training that goes on."""
    parser.add_argument(
        "--epochs", type=float, metavar="X", help="so many in all; the schedule is stretched to it"
    )
    parser.add_argument("--rate", type=float, metavar="X", help="a new learning rate")
    parser.add_argument("--patience", type=int, metavar="N", help="a new one, after an early stop")
    parser.add_argument(
        "--model", type=Path, default=Path(model), metavar="FILE", help=f"(default: {model})"
    )
    add_saving(parser)


def changes(options: Any) -> dict[str, Any]:
    """Return what is given of `add_changes`, for `TrainingRun.change`."""
    names = ("epochs", "patience", "rate")
    given = {name: getattr(options, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}
