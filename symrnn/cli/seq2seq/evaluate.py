"""``seq2seq evaluate``: say how many answers are right."""

import argparse
from typing import Any

from symrnn.cli.options import add_command, add_model, check_numbers
from symrnn.cli.seq2seq.pairs import MODEL, pairs_of, read
from symrnn.cli.sources import check_no_model
from symrnn.cli.training import load_best
from symrnn.models.seq2seq.run import Seq2SeqRun


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "evaluate", run, text="Say how many answers are right.")
    parser.add_argument(
        "pairs", nargs="?", metavar="PAIRS", help="a file (default: the pairs for validation)"
    )
    parser.add_argument(
        "--show", type=int, default=5, metavar="N", help="wrong answers to show (default: 5)"
    )
    add_model(parser, MODEL)


def run(options: argparse.Namespace) -> None:
    """Evaluate a model."""
    check_no_model(options.pairs)
    check_numbers(("--show", options.show, 0))
    loaded = load_best(Seq2SeqRun, options.model)
    if options.pairs is None:
        name, pairs = "validation", pairs_of(loaded.source)[1]
    else:
        name, pairs = options.pairs, read(options.pairs, loaded.source)
    wrong = loaded.translator().wrong_answers(pairs)
    loss, accuracy = loaded.validate(pairs), 100 * (1 - len(wrong) / len(pairs))
    print(f"{name}: {loss:.4f} nats, accuracy {accuracy:.4g}% of {len(pairs):,} answers")
    for text, answer, right in wrong[: options.show]:
        print(f"  {text} -> {answer}, but right is {right}")
