"""``lm train``: train a new language model on text files, or folders of them."""

import argparse
from pathlib import Path
from typing import Any

from symrnn.cli.lm.corpus import MODEL, corpus, describe_loss
from symrnn.cli.options import add_command, add_encoding, check_numbers, check_saving
from symrnn.cli.progress import say
from symrnn.cli.settings import add_net, add_setting, add_training, in_flags, new_settings
from symrnn.cli.sources import absolute
from symrnn.cli.training import Report, beside, check_out, train_run
from symrnn.models.language.run import LanguageRun
from symrnn.models.language.settings import LanguageSettings
from symrnn.text import UNK, Characters, Tokenizer, Vocabulary, Words, count_tokens, read_pieces

EXAMPLES = """examples:
  python -m symrnn lm train shakespeare.txt
  python -m symrnn lm generate "ROMEO:" --length 300 --temperature 0.8
  python -m symrnn lm train stories/ --level word --lower --tied --embed 256 -o words.safetensors
  python -m symrnn lm next "some of them looks like" --model words.safetensors

Ctrl-C saves a training, and this resumes it:
  python -m symrnn lm resume
"""
BESIDE = f"""{EXAMPLES}
Beside the model there will be a picture of its curves (model.png), and a folder with the token ids
of the text (model.tokens), which you may delete after training.
"""


def add(commands: Any) -> None:
    """Add the command and its options."""
    text = "Train a new model on text files, or folders of them."
    parser = add_command(commands, "train", run, text=text, epilog=BESIDE)
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="file, or folder with *.txt")
    _add_text(parser.add_argument_group("the text"))
    defaults = LanguageSettings()
    net = parser.add_argument_group("the net")
    add_net(net, defaults)
    add_setting(net, defaults, "variational", "variational dropout: one mask for all steps")
    add_setting(
        net, defaults, "tied", "the embedding's weights are the output's too (--embed = --hidden)"
    )
    training = parser.add_argument_group("the training")
    add_setting(
        training, defaults, "n_steps", "tokens of each batch stream in a batch; so far back goes "
        "the gradient",
    )  # fmt: skip
    add_setting(
        training, defaults, "reset", "probability that a batch stream is reset before a batch, "
        "so that the net learns how to begin",
    )  # fmt: skip
    add_setting(training, defaults, "validation_tokens", "validate on so many at most")
    add_training(training, defaults, model=MODEL, batch="batch streams: texts read side by side")


def _add_text(group: Any) -> None:
    """Add the options about the text."""
    group.add_argument(
        "--level", choices=("char", "word"), default="char", help="of the tokens (default: char)"
    )
    group.add_argument("--lower", action="store_true", help="lowercase the text")
    group.add_argument(
        "--punctuation", choices=("separate", "drop", "keep"), default="separate",
        help="words: marks are tokens (default), are dropped, or stay on their words",
    )  # fmt: skip
    group.add_argument(
        "--line-ends", choices=("drop", "keep", "eos"), default="drop",
        help="words: line ends are white space (default), tokens, or ends of sentences",
    )  # fmt: skip
    group.add_argument(
        "--vocab-size", type=int, metavar="N",
        help=f"at most so many tokens; others become {UNK} (default: 10000 words, all characters)",
    )  # fmt: skip
    group.add_argument(
        "--min-count", type=int, metavar="N",
        help=f"rarer tokens become {UNK} (default: words 2, characters 1)",
    )  # fmt: skip
    add_encoding(group)
    group.add_argument(
        "--validation", action="append", default=[], metavar="FILE",
        help="validate on this file (or several, with the option again)",
    )  # fmt: skip
    group.add_argument(
        "--split", type=_fractions, default=(0.9, 0.1), metavar="A,B[,C]",
        help="without files for validation: fractions for training, validation, and if you like "
        "test (default: 0.9,0.1); the vocabulary is that of the whole text",
    )  # fmt: skip


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        message = f"{text!r} is not a list of numbers with commas between, such as 0.8,0.1,0.1"
        raise argparse.ArgumentTypeError(message) from None


def run(options: argparse.Namespace) -> int:
    """Train a new model."""
    inputs = [*options.texts, *options.validation]
    check_out(options.out, force=options.force, command="lm", inputs=inputs)
    check_saving(options)
    check_numbers(("--vocab-size", options.vocab_size, 2), ("--min-count", options.min_count, 1))
    settings = new_settings(LanguageSettings, options)
    tokenizer, vocabulary = _tokens(options)
    source = {
        "texts": absolute(options.texts),
        "validation": absolute(options.validation),
        "encoding": options.encoding,
    }
    with in_flags(LanguageSettings):
        made = LanguageRun(settings, tokenizer, vocabulary, source=source)
    return train(made, path=options.out, options=options)


def _tokens(options: argparse.Namespace) -> tuple[Tokenizer, Vocabulary]:
    """Return the tokenizer, and the vocabulary of the text."""
    words = options.level == "word"
    tokenizer: Tokenizer = Characters(lower=options.lower)
    if words:
        tokenizer = Words(
            lower=options.lower, punctuation=options.punctuation, line_ends=options.line_ends
        )
    say(f"reading {', '.join(map(str, options.texts))}")
    counts = count_tokens(read_pieces(options.texts, encoding=options.encoding), tokenizer)
    min_count = options.min_count or (2 if words else 1)  # dropped words teach <unk>
    limited = options.vocab_size is not None or min_count > 1
    vocabulary = Vocabulary.build(
        counts, max_size=options.vocab_size or (10_000 if words else None), min_count=min_count,
        specials=(UNK,) if words or limited or options.validation else (),
    )  # fmt: skip
    return tokenizer, vocabulary


def train(run: LanguageRun, *, path: Path, options: argparse.Namespace) -> int:
    """Train from where a run is, and return the exit status."""
    training, validation, *_ = corpus(run, beside(path, ".tokens"))
    s = run.settings
    data = (
        f"{len(training):,} tokens for training, {len(validation):,} for validation; vocabulary of "
        f"{len(run.vocabulary):,}"
    )
    report = Report(
        "lm", data, s.batch_size * s.n_steps, "tokens",
        lambda entry: describe_loss(entry["validation"], run),
    )  # fmt: skip
    return train_run(run, training, validation, path=path, options=options, report=report)
