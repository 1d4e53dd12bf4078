"""The commands of ``python -m symrnn seq2seq``."""

from typing import Any

from symrnn.cli.options import add_group
from symrnn.cli.seq2seq import evaluate, resume, train, translate


def add_commands(commands: Any) -> None:
    """Add ``seq2seq`` and its commands to a command line."""
    add_group(
        commands, "seq2seq", epilog=train.EXAMPLES, parts=(train, resume, evaluate, translate),
        text="Sequence to sequence: texts to texts of another length, learned from pairs.",
    )  # fmt: skip
