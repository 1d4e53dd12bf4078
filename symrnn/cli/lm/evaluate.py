"""``lm evaluate``: say how well a language model predicts texts."""

import argparse
import tempfile
from typing import Any

from symrnn.cli.lm.corpus import MODEL, corpus, describe_loss
from symrnn.cli.options import add_command, add_encoding, add_mode, add_model
from symrnn.cli.sources import check_no_model
from symrnn.cli.training import beside, load_best
from symrnn.models.language.run import LanguageRun
from symrnn.text import UNK, encode_files


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "evaluate", run, text="Say how well a model predicts texts.")
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT",
        help="files or folders (default: the parts for validation and test of its own text)",
    )  # fmt: skip
    add_encoding(parser)
    add_model(parser, MODEL)
    add_mode(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate a model."""
    check_no_model(*options.texts)
    loaded = load_best(LanguageRun, options.model)
    loaded.change(mode=options.mode)
    with tempfile.TemporaryDirectory(prefix="symrnn_") as folder:
        if options.texts:
            tokens = encode_files(
                options.texts, loaded.tokenizer, loaded.vocabulary, cache=folder,
                encoding=options.encoding,
            )  # fmt: skip
            parts = {", ".join(options.texts): tokens}
        else:
            _, *rest = corpus(loaded, beside(options.model, ".tokens"))
            parts = dict(zip(("validation", "test"), rest, strict=False))
        for name, tokens in parts.items():
            described = describe_loss(loaded.evaluate(tokens), loaded)
            unknown = 100 * _count(tokens, loaded.vocabulary.unk) / len(tokens)
            print(f"{name}: {described}; {len(tokens):,} tokens, {unknown:.2g}% {UNK}")


def _count(tokens: Any, token_id: int | None) -> int:
    """Count a token in an array that may be larger than the memory."""
    starts = range(0, len(tokens), 2**20)
    return sum(int((tokens[k : k + 2**20] == token_id).sum()) for k in starts)
