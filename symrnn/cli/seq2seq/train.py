"""``seq2seq train``: train a new model on pairs of texts."""

import argparse
from pathlib import Path
from typing import Any

from symrnn.cli.options import add_command, add_encoding, check_numbers, check_saving
from symrnn.cli.seq2seq.pairs import MODEL, TASKS, pairs_of
from symrnn.cli.settings import add_net, add_setting, add_training, in_flags, new_settings
from symrnn.cli.sources import absolute
from symrnn.cli.training import Report, check_out, train_run
from symrnn.models.seq2seq.recurrent import CONTEXT_TO
from symrnn.models.seq2seq.run import Seq2SeqRun
from symrnn.models.seq2seq.settings import ATTENTION, Seq2SeqSettings
from symrnn.text import UNK, PairVocabularies, Words

EXAMPLES = """examples:
  python -m symrnn seq2seq train --task dates --epochs 2
  python -m symrnn seq2seq translate "tuesday, september 25, 1984" --map attention.png
  python -m symrnn seq2seq train my_pairs.txt --level word -o words.safetensors
  python -m symrnn seq2seq translate "how are you ?" --model words.safetensors --beam 5 --n-best 3

A file of pairs has one pair a line, source and target with a tab (or an underscore) between them.
Ctrl-C saves a training, and this resumes it:
  python -m symrnn seq2seq resume
"""


def add(commands: Any) -> None:
    """Add the command and its options."""
    text = "Train a new model on pairs of texts."
    parser = add_command(commands, "train", run, text=text, epilog=EXAMPLES)
    parser.add_argument("pairs", nargs="?", metavar="PAIRS", help="file with a pair a line")
    _add_pairs(parser.add_argument_group("the pairs"))
    defaults = Seq2SeqSettings()
    net = parser.add_argument_group("the net")
    add_net(net, defaults)
    add_setting(net, defaults, "bidirectional", "the encoder reads in both directions")
    add_setting(net, defaults, "reverse", "the encoder reads from the end")
    add_setting(net, defaults, "residual", "add a layer's input to its outputs")
    add_setting(net, defaults, "peeky", "the decoder sees the encoder's vector at every step")
    add_setting(net, defaults, "attention", "score of attention", choices=ATTENTION)
    add_setting(net, defaults, "context_to", "where the context goes", choices=CONTEXT_TO)
    training = parser.add_argument_group("the training")
    add_setting(training, defaults, "by_length", "batches of pairs of similar length")
    add_setting(
        training, defaults, "sampling_probability", "probability at the end of training that a "
        "decoder input is a draw from the decoder's own output; it grows from 0 (scheduled "
        "sampling)",
    )  # fmt: skip
    add_training(training, defaults, model=MODEL, batch="pairs in a batch")


def _add_pairs(group: Any) -> None:
    """Add the options about the pairs."""
    group.add_argument(
        "--task", choices=sorted(TASKS), help="in place of a file: pairs that are made on the spot"
    )
    group.add_argument(
        "--separator", metavar="S", help="between source and target (default: tab, or underscore)"
    )
    add_encoding(group)
    group.add_argument(
        "--level", choices=("char", "word"), default="char", help="of the tokens (default: char)"
    )
    group.add_argument("--lower", action="store_true", help="words: lowercase sources and targets")
    group.add_argument(
        "--min-count", type=int, default=1, metavar="N",
        help=f"rarer tokens become {UNK} (default: 1)",
    )  # fmt: skip
    group.add_argument("--validation", metavar="FILE", help="validate on the pairs of this file")
    group.add_argument(
        "--held-out", type=int, metavar="N",
        help="without a file for validation: on so many pairs of PAIRS (default: a tenth, 5000 at "
        "most)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Train a new model."""
    if (options.pairs is None) == (options.task is None):
        raise ValueError("give a file with pairs, or --task with one of " + ", ".join(TASKS))
    inputs = [options.pairs, options.validation]
    check_out(options.out, force=options.force, command="seq2seq", inputs=inputs)
    check_saving(options)
    check_numbers(("--min-count", options.min_count, 1), ("--held-out", options.held_out, 1))
    settings = new_settings(Seq2SeqSettings, options)
    source = {
        "pairs": absolute(options.pairs),
        "task": options.task,
        "validation": absolute(options.validation),
        "held_out": options.held_out,
        "seed": settings.seed,
        "separator": options.separator,
        "encoding": options.encoding,
    }
    training, validation = pairs_of(source)
    tokenizer = Words(lower=options.lower) if options.level == "word" else None
    counted = [*training, *validation] if options.min_count == 1 else training
    both = PairVocabularies.build(counted, tokenizer=tokenizer, min_count=options.min_count)
    with in_flags(Seq2SeqSettings):
        made = Seq2SeqRun(settings, both, source=source)
    return train(made, training, validation, path=options.out, options=options)


def train(
    run: Seq2SeqRun, training: Any, validation: Any, *, path: Path, options: argparse.Namespace
) -> int:
    """Train from where a run is, and return the exit status."""
    both = run.vocabularies
    data = (
        f"{len(training):,} pairs for training, {len(validation):,} for validation; "
        f"{len(both.source):,} tokens in sources, {len(both.target):,} in targets"
    )
    report = Report("seq2seq", data, run.settings.batch_size, "pairs", _describe)
    return train_run(run, training, validation, path=path, options=options, report=report)


def _describe(entry: dict[str, float]) -> str:
    return f"{entry['validation']:.4f} nats, accuracy {100 * entry['accuracy']:.4g}%"
