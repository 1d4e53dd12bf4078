"""The options of ``python -m symrnn lm`` and their help."""

import argparse
from typing import Any

from symrnn.cli import lm
from symrnn.cli.options import add_changes, add_command, add_model, add_training, option
from symrnn.models.language.settings import CELLS, Settings
from symrnn.text import UNK

MODEL = "model.safetensors"

EXAMPLES = """examples:
  python -m symrnn lm train shakespeare.txt
  python -m symrnn lm generate "ROMEO:" --length 300 --temperature 0.8
  python -m symrnn lm train stories/ --level word --lower --tied --embed 256 --out words.safetensors
  python -m symrnn lm next "some of them looks like" --model words.safetensors

Ctrl-C saves a training, and this goes on with it:
  python -m symrnn lm resume
"""

TRAIN = f"""{EXAMPLES}
Beside the model lie a picture of its curves (model.png), and a folder with the numbers of the
text's tokens (model.tokens), which you may delete after training.
"""


def add_commands(commands: Any) -> None:
    """Add ``lm`` and what comes after it to a command line."""
    text = "Language models: what comes next in a text, character by character or word by word."
    parser = commands.add_parser("lm", help=text, description=text, epilog=EXAMPLES)
    inside = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_train, _add_resume, _add_evaluate, _add_generate, _add_next):
        add(inside)


def _add_train(commands: Any) -> None:
    text = "Train a new model on text files, or folders of them."
    parser = add_command(commands, "train", lm.train, text, TRAIN)
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="file, or folder with *.txt")

    of_text = parser.add_argument_group("the text")
    levels = ("char", "word")
    of_text.add_argument("--level", choices=levels, default="char", help="(default: char)")
    of_text.add_argument("--lower", action="store_true", help="make all letters small")
    of_text.add_argument(
        "--punctuation", choices=("separate", "drop", "keep"), default="separate",
        help="words: marks are tokens (default), are dropped, or stay on their words",
    )  # fmt: skip
    of_text.add_argument(
        "--line-ends", choices=("drop", "keep", "eos"), default="drop",
        help="words: line ends are white space (default), tokens, or ends of sentences",
    )  # fmt: skip
    of_text.add_argument(
        "--vocab-size", type=int, metavar="N",
        help=f"at most so many tokens; others become {UNK} (default: 10000 words, all characters)",
    )  # fmt: skip
    of_text.add_argument(
        "--min-count",
        type=int,
        metavar="N",
        help="leave out rarer tokens (default: words 2, characters 1)",
    )
    of_text.add_argument("--encoding", default="utf-8", help="of the files (default: utf-8)")
    of_text.add_argument(
        "--validation",
        action="append",
        default=[],
        metavar="FILE",
        help="validate on this file (or several, with the option again)",
    )
    of_text.add_argument(
        "--split", type=_parts, default=(0.9, 0.1), metavar="A,B[,C]",
        help="else: parts for training, validation, and if you like test (default: 0.9,0.1); the "
        "vocabulary is that of the whole text",
    )  # fmt: skip

    defaults = Settings()
    net = parser.add_argument_group("the net")
    option(net, defaults, "--cell", "cell", "", choices=sorted(CELLS))
    option(net, defaults, "--embed", "n_embed", "numbers in a token's vector")
    option(net, defaults, "--hidden", "n_hidden", "units of a layer")
    option(net, defaults, "--layers", "n_layers", "recurrent layers")
    option(net, defaults, "--dropout", "dropout", "share of features left out in training")
    option(net, defaults, "--variational", "variational", "the same features at all steps")
    option(
        net, defaults, "--tied", "tied", "one matrix for vectors and output (--embed = --hidden)"
    )

    training = parser.add_argument_group("the training")
    option(training, defaults, "--epochs", "epochs", "times to go through the text")
    option(training, defaults, "--batch", "batch_size", "rows of the text side by side")
    option(training, defaults, "--steps", "n_steps", "tokens of a row at once: so far go gradients")
    option(training, defaults, "--reset", "reset", "share of rows that begin anew before a batch")
    option(
        training,
        defaults,
        "--validation-tokens",
        "validation_tokens",
        "validate on so many at most",
    )
    add_training(training, defaults, MODEL)


def _parts(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        message = f"{text!r} are no numbers with commas between, such as 0.8,0.1,0.1"
        raise argparse.ArgumentTypeError(message) from None


def _add_resume(commands: Any) -> None:
    parser = add_command(commands, "resume", lm.resume, "Go on with a training that was stopped.")
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="where the same texts are now, if they have moved"
    )
    parser.add_argument("--validation", action="append", metavar="FILE", help="likewise")
    add_changes(parser, MODEL)


def _add_evaluate(commands: Any) -> None:
    parser = add_command(commands, "evaluate", lm.evaluate, "Say how well a model predicts texts.")
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT",
        help="files or folders (default: the parts for validation and test of its own text)",
    )  # fmt: skip
    parser.add_argument("--encoding", default="utf-8", help="of the files (default: utf-8)")
    add_model(parser, MODEL, None, "as trained")


def _add_generate(commands: Any) -> None:
    parser = add_command(commands, "generate", lm.generate, "Let a model write.")
    parser.add_argument("prompt", nargs="?", default="", metavar="PROMPT", help="how it begins")
    parser.add_argument("--length", type=int, metavar="N", help="tokens (default: 500, words: 100)")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="below 1 tamer, above 1 wilder (default: 1)"
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="only the K most probable tokens")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="only the most probable that make up P together"
    )
    parser.add_argument("--greedy", action="store_true", help="always the most probable token")
    parser.add_argument(
        "--beam", type=int, metavar="W", help="look for the most probable text, keeping W"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="the same text each time (default: another)"
    )
    add_model(parser, MODEL, None, "QUICK, and NUMBA for more than 2000 tokens")


def _add_next(commands: Any) -> None:
    parser = add_command(
        commands, "next", lm.next_tokens, "Say which tokens come next, and how probably."
    )
    parser.add_argument("prompt", metavar="PROMPT", help="what the text is so far")
    parser.add_argument("-k", type=int, metavar="K", help="how many (default: 10)")
    add_model(parser, MODEL, "QUICK", "QUICK")
