"""The command line: ``python -m symrnn lm train TEXT...`` and what else `symrnn.cli` has."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import pytensor

from symrnn import __version__
from symrnn.cli.lm.commands import add_commands as add_lm
from symrnn.cli.seq2seq.commands import add_commands as add_seq2seq


class Parser(argparse.ArgumentParser):
    """Prints an error as one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (--help shows all options)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 2 after an error, 130 after Ctrl-C."""
    parser = Parser(prog="python -m symrnn", description="Recurrent nets as symbolic graphs.")
    parser.add_argument("--version", action="version", version=f"symrnn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_lm(commands)
    add_seq2seq(commands)
    options = parser.parse_args(arguments)
    logging.getLogger("pytensor.tensor.blas").setLevel(logging.ERROR)
    try:
        # no traces of where variables were made: they take a third of the time to build a graph
        flags = pytensor.config.change_flags(floatX="float32", traceback__limit=0)
        with flags, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
            warnings.filterwarnings("ignore", message="(.|\n)*Cannot cache compiled function")
            return int(options.run(options) or 0)
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:
        message = " ".join([str(error), *getattr(error, "__notes__", ())])
        print(f"{parser.prog}: error: {' '.join(message.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
