"""The commands of ``python -m symrnn lm``."""

from typing import Any

from symrnn.cli.lm import evaluate, generate, next_tokens, resume, train
from symrnn.cli.options import add_group


def add_commands(commands: Any) -> None:
    """Add ``lm`` and its commands to a command line."""
    parts = train, resume, evaluate, generate, next_tokens
    add_group(
        commands, "lm", epilog=train.EXAMPLES, parts=parts,
        text="Language models: what comes next in a text, character by character or word by word.",
    )  # fmt: skip
