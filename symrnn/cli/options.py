"""Options that several commands share, and their checks."""

from pathlib import Path
from typing import Any

from symrnn._validate import check_positive, check_whole
from symrnn.training.settings import MODES


def add_command(commands: Any, name: str, run: Any, *, text: str, epilog: str | None = None) -> Any:
    """Add a command that calls `run` with its options; return its parser."""
    parser = commands.add_parser(name, help=text, description=text, epilog=epilog)
    parser.set_defaults(run=run)
    return parser


def add_group(commands: Any, name: str, *, text: str, epilog: str, parts: Any) -> None:
    """Add a command that only has commands: `parts`, modules with a function ``add``."""
    parser = commands.add_parser(name, help=text, description=text, epilog=epilog)
    inside = parser.add_subparsers(metavar="COMMAND", required=True)
    for part in parts:
        part.add(inside)


def add_model(parser: Any, model: str) -> None:
    """Add ``--model``, the file to use."""
    parser.add_argument(
        "--model", type=Path, default=Path(model), metavar="FILE", help=f"(default: {model})"
    )


def add_out(parser: Any, model: str) -> None:
    """Add ``--out``, the file to write, and ``--force``."""
    parser.add_argument(
        "-o", "--out", type=Path, default=Path(model), metavar="FILE",
        help=f"file of the model (default: {model})",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite --out")


def add_mode(parser: Any) -> None:
    """Add ``--mode`` to a command that uses a model."""
    parser.add_argument(
        "--mode", choices=MODES, default=MODES[0], help=f"mode of PyTensor (default: {MODES[0]})"
    )


def add_encoding(parser: Any) -> None:
    """Add ``--encoding``."""
    parser.add_argument("--encoding", default="utf-8", help="of the files (default: utf-8)")


def add_saving(parser: Any) -> None:
    """Add when to save and when to stop."""
    parser.add_argument(
        "--minutes", type=float, metavar="M",
        help="save and stop after this time, not counting compilation; the schedule is that of "
        "--epochs",
    )  # fmt: skip
    parser.add_argument(
        "--save-every", type=float, default=30, metavar="S", help="seconds (default: 30)"
    )


def check_saving(options: Any) -> None:
    """Check the options of `add_saving`."""
    if options.minutes is not None:
        check_positive("--minutes", options.minutes)
    check_positive("--save-every", options.save_every, or_zero=True)


def check_numbers(*numbers: tuple[str, int | None, int]) -> None:
    """Check whole numbers, each with its flag and the least possible; None is not given."""
    for flag, value, least in numbers:
        if value is not None:
            check_whole(flag, value, least=least)
