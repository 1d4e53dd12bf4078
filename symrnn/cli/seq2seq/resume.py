"""``seq2seq resume``: resume a training that was stopped."""

import argparse
from typing import Any

from symrnn.cli.options import add_command
from symrnn.cli.seq2seq.pairs import MODEL, pairs_of
from symrnn.cli.seq2seq.train import train
from symrnn.cli.settings import add_changes
from symrnn.cli.sources import absolute, check_no_model
from symrnn.cli.training import load_to_resume
from symrnn.models.seq2seq.run import Seq2SeqRun


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "resume", run, text="Resume a training that was stopped.")
    parser.add_argument(
        "pairs", nargs="?", metavar="PAIRS", help="where the file is now, if it has moved"
    )
    parser.add_argument("--validation", metavar="FILE", help="likewise")
    add_changes(parser, model=MODEL)


def run(options: argparse.Namespace) -> int:
    """Resume a training."""
    check_no_model(options.pairs, options.validation)
    loaded = load_to_resume(Seq2SeqRun, options)
    for name in ("pairs", "validation"):
        if given := getattr(options, name):
            loaded.source[name] = absolute(given)
    training, validation = pairs_of(loaded.source)
    return train(loaded, training, validation, path=options.model, options=options)
