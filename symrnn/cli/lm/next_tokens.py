"""``lm next``: say which tokens come next, and how probable they are."""

import argparse
from typing import Any

from symrnn._validate import check_whole
from symrnn.cli.lm.corpus import MODEL
from symrnn.cli.lm.prompt import load_for_prompt
from symrnn.cli.options import add_command, add_mode, add_model
from symrnn.models.language.generation import TextGenerator


def add(commands: Any) -> None:
    """Add the command and its options."""
    text = "Say which tokens come next, and how probable they are."
    parser = add_command(commands, "next", run, text=text)
    parser.add_argument("prompt", metavar="PROMPT", help="the text so far")
    parser.add_argument("-k", type=int, metavar="K", help="how many (default: 10)")
    add_model(parser, MODEL)
    add_mode(parser)


def run(options: argparse.Namespace) -> None:
    """Print the most probable next tokens."""
    loaded = load_for_prompt(options)
    vocabulary = loaded.vocabulary
    generator = TextGenerator(loaded.model, vocabulary, loaded.tokenizer, mode=options.mode)
    offered = len(vocabulary) - (vocabulary.unk is not None)
    k = min(10, offered) if options.k is None else options.k
    check_whole("-k", k, offered)
    for token, p in generator.next_words(options.prompt, k):
        shown = token if token.isprintable() and not token.isspace() else repr(token)
        print(f"{p:8.4f}  {shown}")
