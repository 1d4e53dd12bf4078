"""``lm resume``: resume a training that was stopped."""

import argparse
from typing import Any

from symrnn.cli.lm.corpus import MODEL
from symrnn.cli.lm.train import train
from symrnn.cli.options import add_command
from symrnn.cli.settings import add_changes
from symrnn.cli.sources import absolute, check_no_model
from symrnn.cli.training import load_to_resume
from symrnn.models.language.run import LanguageRun


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "resume", run, text="Resume a training that was stopped.")
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="where the same texts are now, if they have moved"
    )
    parser.add_argument("--validation", action="append", metavar="FILE", help="likewise")
    add_changes(parser, model=MODEL)


def run(options: argparse.Namespace) -> int:
    """Resume a training."""
    check_no_model(*options.texts)
    loaded = load_to_resume(LanguageRun, options)
    for name in ("texts", "validation"):
        if given := getattr(options, name):
            loaded.source[name] = absolute(given)
    return train(loaded, path=options.model, options=options)
