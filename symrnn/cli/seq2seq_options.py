"""The options of ``python -m symrnn seq2seq`` and their help."""

from pathlib import Path
from typing import Any

from symrnn.cli import seq2seq
from symrnn.cli.options import add_changes, add_command, add_training, option
from symrnn.models.language.settings import CELLS
from symrnn.models.seq2seq.model import FEEDINGS
from symrnn.models.seq2seq.run import Seq2SeqSettings
from symrnn.nn.attention import SCORES

MODEL = "seq2seq.safetensors"

EXAMPLES = """examples:
  python -m symrnn seq2seq train --task dates --epochs 2
  python -m symrnn seq2seq translate "tuesday, september 25, 1984" --map attention.png
  python -m symrnn seq2seq train my_pairs.txt --level word --out words.safetensors
  python -m symrnn seq2seq translate "how are you ?" --model words.safetensors --beam 5 --n-best 3

A file of pairs has one pair a line, source and target with a tab (or an underscore) between them.
Ctrl-C saves a training, and this goes on with it:
  python -m symrnn seq2seq resume
"""


def add_commands(commands: Any) -> None:
    """Add ``seq2seq`` and what comes after it to a command line."""
    text = "Sequence to sequence: texts to texts of another length, learnt from pairs."
    parser = commands.add_parser("seq2seq", help=text, description=text, epilog=EXAMPLES)
    inside = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_train, _add_resume, _add_evaluate, _add_translate):
        add(inside)


def _add_train(commands: Any) -> None:
    text = "Train a new model on pairs of texts."
    parser = add_command(commands, "train", seq2seq.train, text, EXAMPLES)
    parser.add_argument("pairs", nargs="?", metavar="PAIRS", help="file with a pair a line")
    defaults = Seq2SeqSettings()

    of_pairs = parser.add_argument_group("the pairs")
    of_pairs.add_argument(
        "--task", choices=sorted(seq2seq.TASKS), help="in place of a file: pairs that are made"
    )
    of_pairs.add_argument(
        "--separator", metavar="S", help="between source and target (default: tab, or underscore)"
    )
    of_pairs.add_argument("--encoding", default="utf-8", help="of the files (default: utf-8)")
    of_pairs.add_argument(
        "--level", choices=("char", "word"), default="char", help="(default: char)"
    )
    of_pairs.add_argument(
        "--lower",
        action="store_true",
        help="words: make all letters small, those of the targets too",
    )
    of_pairs.add_argument(
        "--min-count", type=int, default=1, metavar="N",
        help="leave out rarer tokens; they become <unk> (default: 1)",
    )  # fmt: skip
    of_pairs.add_argument("--validation", metavar="FILE", help="validate on the pairs of this file")
    of_pairs.add_argument(
        "--held-out", type=int, metavar="N",
        help="else: on so many pairs of PAIRS (default: a tenth, 5000 at most)",
    )  # fmt: skip

    net = parser.add_argument_group("the net")
    option(net, defaults, "--cell", "cell", "", choices=sorted(CELLS))
    option(net, defaults, "--embed", "n_embed", "numbers in a token's vector")
    option(net, defaults, "--hidden", "n_hidden", "units of a layer")
    option(net, defaults, "--layers", "n_layers", "layers of encoder and decoder")
    option(net, defaults, "--bidirectional", "bidirectional", "the encoder reads both ways")
    option(net, defaults, "--reverse", "reverse", "the encoder reads from the end")
    option(net, defaults, "--residual", "residual", "add a layer's input to its outputs")
    option(net, defaults, "--peeky", "peeky", "the decoder sees the encoder's vector at each step")
    option(net, defaults, "--attention", "attention", "", choices=("none", *SCORES))
    option(net, defaults, "--feeding", "feeding", "where attention goes", choices=FEEDINGS)
    option(net, defaults, "--dropout", "dropout", "share of features left out in training")

    training = parser.add_argument_group("the training")
    option(training, defaults, "--epochs", "epochs", "times to go through the pairs")
    option(training, defaults, "--batch", "batch_size", "pairs of a step")
    option(training, defaults, "--by-length", "by_length", "pairs of similar length together")
    option(
        training, defaults, "--own", "own", "share of the decoder's own draws among its inputs at "
        "the end of training; it grows from 0 (scheduled sampling)",
    )  # fmt: skip
    add_training(training, defaults, MODEL)


def _add_resume(commands: Any) -> None:
    text = "Go on with a training that was stopped."
    parser = add_command(commands, "resume", seq2seq.resume, text)
    parser.add_argument("pairs", nargs="?", metavar="PAIRS", help="where the file is now")
    add_changes(parser, MODEL)


def _add_which(parser: Any) -> None:
    parser.add_argument(
        "--model", type=Path, default=Path(MODEL), metavar="FILE", help=f"(default: {MODEL})"
    )


def _add_evaluate(commands: Any) -> None:
    text = "Say how many answers are right."
    parser = add_command(commands, "evaluate", seq2seq.evaluate, text)
    parser.add_argument(
        "pairs", nargs="?", metavar="PAIRS", help="a file (default: the pairs held out in training)"
    )
    parser.add_argument(
        "--show", type=int, default=5, metavar="N", help="wrong answers to show (default: 5)"
    )
    _add_which(parser)


def _add_translate(commands: Any) -> None:
    text = "Answer texts."
    parser = add_command(commands, "translate", seq2seq.translate, text)
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT",
        help="quote a text of several words (default: the lines of stdin)",
    )  # fmt: skip
    parser.add_argument("--beam", type=int, metavar="W", help="beam search, keeping W")
    parser.add_argument(
        "--n-best", type=int, metavar="N", help="show N answers of --beam, N if not given"
    )
    parser.add_argument(
        "--length-power", type=float, metavar="A",
        help="score = log p / length^A: 0 favours short answers, 1 not (default: 0)",
    )  # fmt: skip
    parser.add_argument("--temperature", type=float, metavar="T", help="draw; 1 as it is trained")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K most probable")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="draw from the most probable that make up P"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="draw the same each time")
    parser.add_argument(
        "--longest", type=int, metavar="N",
        help="tokens of a source (default: as many as the longest in training has)",
    )  # fmt: skip
    parser.add_argument(
        "--map", type=Path, metavar="PNG", help="draw what the first answer was said looking at"
    )
    _add_which(parser)
