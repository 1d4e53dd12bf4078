"""What every lesson needs around its graph: a command line, and figures on disk."""

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
    """An option of a lesson has a value that cannot be used."""


MODES = ("FAST_COMPILE", "CVM", "NUMBA")


def run(main: Callable[..., Any], help: dict[str, str] | None = None) -> None:
    """Call `main` with the command line's options, which are its keyword arguments.

    A ``bool`` becomes a flag, a ``Literal`` a choice, ``str``, ``int`` and ``float`` take a
    value of that type, and `mode` is one of PyTensor's modes in `MODES`. The defaults on the
    command line are the function's defaults.

    Parameters
    ----------
    main
        A lesson's main function. Every parameter has a default and is annotated with one of the
        types above, or with one of them ``| None``.
    help
        One line for each option, by parameter name.

    Notes
    -----
    An `OptionError` of the lesson, and a loss that became NaN or infinite, end the program with
    their message and exit status 2, without a traceback: they are about what was asked for. All
    other errors are about the code and keep their traceback.
    Ctrl-C ends it with status 130. In a notebook `main` is called with its defaults.
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
        flag, text = "--" + name.replace("_", "-"), (help or {}).get(name, "")
        options: dict[str, Any]
        kind = parameter.annotation
        if get_origin(kind) in (Union, UnionType):  # "float | None": the lesson itself chooses
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
    # Lessons multiply tiny matrices: that the C compiler finds no fast BLAS is no matter to them.
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
    """Raise OptionError if `value`, given as `flag`, is no finite number above 0."""
    try:
        check_positive(flag, value)
    except ValueError as error:
        raise OptionError(str(error)) from None


def figure_folder(folder: str | Path, quick: bool = False) -> Path:
    """Make `folder` and make sure that figures can be written there, before the long work begins.

    A quick run gets the folder ``quick`` inside it, and leaves the figures of the full one alone.

    Raises
    ------
    OptionError
        If the folder cannot be made or written; the message says what to do.
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
    """Save `figure` as ``folder/name.png``, whole or not at all, and say where it is."""
    path = folder / f"{name}.png"
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
    print(f"figure: {path}")
    return path


def show_figures() -> None:
    """Open the figures in windows if a person sits in front of a screen; else do nothing."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.registry import BackendFilter, backend_registry

    windows = backend_registry.list_builtin(BackendFilter.INTERACTIVE)  # type: ignore[no-untyped-call]
    if plt.get_backend().lower() in map(str.lower, windows) and sys.stdout.isatty():
        plt.show()
    plt.close("all")
