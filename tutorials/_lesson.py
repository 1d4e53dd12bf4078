"""What the lessons share: a command line for their main function, and figures on disk."""

import argparse
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from symrnn._files import replacing
from symrnn._validate import check_positive
from symrnn.training.loop import NonFiniteLossError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class OptionError(ValueError):
    """An option of a lesson has an invalid value."""


MODES = ("QUICK", "FAST_COMPILE", "CVM", "NUMBA")
MODE = "how PyTensor compiles (default: QUICK, which starts within seconds)"


def run(main: Callable[..., Any], help: dict[str, str] | None = None) -> None:
    """Call `main` with the options of the command line as keyword arguments.

    Each parameter of `main` becomes an option with the same default: a ``bool`` a flag, a
    ``Literal`` a choice, ``str``, ``int`` and ``float`` an option that takes a value of that type.
    The option ``--mode`` takes one of `MODES`. In a notebook `main` is called with its defaults.

    Parameters
    ----------
    main
        The main function of a lesson. Every parameter has a default and is annotated with one of
        the types above, or with one of them ``| None``.
    help
        One line for each option, by parameter name.

    Notes
    -----
    An `OptionError`, or a loss that is NaN or infinite, ends the program with its message and exit
    status 2, without a traceback: the cause is a value that the user chose. All other errors keep
    their traceback. Ctrl-C ends the program with status 130.
    """
    if "ipykernel" in sys.modules:  # in a notebook the command line is the kernel's
        main()
        return
    parser = argparse.ArgumentParser(
        description=inspect.getdoc(inspect.getmodule(main)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, parameter in inspect.signature(main).parameters.items():
        flag, text = "--" + name.replace("_", "-"), ({"mode": MODE} | (help or {})).get(name, "")
        options: dict[str, Any]
        kind = parameter.annotation
        if get_origin(kind) in (Union, UnionType):  # "float | None": the default depends
            kind = get_args(kind)[0]
        if name == "mode":
            options = {"choices": MODES, "type": str.upper}
        elif get_origin(kind) is Literal:
            options = {"choices": get_args(kind)}
        elif kind is bool:
            options = {"action": "store_true"}
        else:
            options = {
                "type": kind,
                "metavar": "DIR" if name == "figures" else kind.__name__.upper(),
            }
        default = "" if parameter.default in (None, False) else f"(default: {parameter.default})"
        parser.add_argument(flag, default=parameter.default, help=f"{text} {default}", **options)
    arguments = vars(parser.parse_args())
    # the matrices of lessons are small: a missing BLAS library makes no difference
    warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
    logging.getLogger("pytensor.tensor.blas").setLevel(logging.ERROR)
    if arguments.get("seed", 0) < 0:
        parser.error(f"--seed is {arguments['seed']}, but must be 0 or more")
    try:
        main(**arguments)
    except (OptionError, NonFiniteLossError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\nstopped.\n")


def positive_option(flag: str, value: float) -> None:
    """Raise OptionError if `value`, given as `flag`, is not a positive finite number."""
    try:
        check_positive(flag, value)
    except ValueError as error:
        raise OptionError(str(error)) from None


def figure_folder(folder: str | Path, quick: bool = False) -> Path:
    """Create `folder` and check that it is writable, before the computation begins.

    A quick run writes to its subfolder ``quick``, and keeps the figures of the full run.

    Raises
    ------
    OptionError
        If the folder cannot be created or written; the message says how to choose another one.
    """
    path = Path(folder, "quick") if quick else Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OptionError(
            f"cannot write figures to {str(path)!r} ({error.strerror}): "
            "choose another folder with --figures DIR"
        ) from error
    return path


def save_figure(figure: "Figure", folder: Path, name: str) -> Path:
    """Save `figure` atomically as ``folder/name.png``; print and return the path."""
    path = folder / f"{name}.png"
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
    print(f"figure: {path}")
    return path


def show_figures() -> None:
    """Show the figures in windows if the session is interactive, and close them."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.registry import BackendFilter, backend_registry

    windows = backend_registry.list_builtin(BackendFilter.INTERACTIVE)  # type: ignore[no-untyped-call]
    if plt.get_backend().lower() in map(str.lower, windows) and sys.stdout.isatty():
        plt.show()
    plt.close("all")
