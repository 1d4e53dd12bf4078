"""``lm generate``: generate text with a language model."""

import argparse
from typing import Any

from symrnn.cli.lm.corpus import MODEL
from symrnn.cli.lm.prompt import load_for_prompt
from symrnn.cli.options import add_command, add_mode, add_model, check_numbers
from symrnn.cli.sampling import add_sampling, check_sampling, is_sampling, sampling
from symrnn.models.language.generation import TextGenerator
from symrnn.text import Characters


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "generate", run, text="Generate text.")
    parser.add_argument("prompt", nargs="?", default="", metavar="PROMPT", help="how it begins")
    parser.add_argument(
        "-n", "--length", type=int, metavar="N", help="tokens (default: 500, words: 100)"
    )
    add_sampling(parser, temperature="default: 1")
    parser.add_argument("--greedy", action="store_true", help="always the most probable token")
    parser.add_argument("--beam", type=int, metavar="W", help="beam search of width W")
    add_model(parser, MODEL)
    add_mode(parser)


def run(options: argparse.Namespace) -> None:
    """Generate text."""
    chosen = [options.greedy, options.beam is not None, is_sampling(options)]
    if sum(chosen) > 1:
        raise ValueError(
            "--greedy and --beam do not sample: give one of them alone, or --temperature, --top-k, "
            "--top-p and --seed"
        )
    check_numbers(("--length", options.length, 1), ("--beam", options.beam, 1))
    check_sampling(options)
    loaded, length = load_for_prompt(options), options.length
    if length is None:
        length = 500 if isinstance(loaded.tokenizer, Characters) else 100
    samples = sampling(options, n_tokens=len(loaded.vocabulary))
    generator = TextGenerator(loaded.model, loaded.vocabulary, loaded.tokenizer, mode=options.mode)
    if options.beam is not None:
        found = generator.beam_search(options.prompt, length, width=options.beam)
        pieces: Any = [found[0][0]]
    else:
        how = {} if options.greedy else samples
        pieces = generator.stream(options.prompt, length, **how)
    print(options.prompt, end="")
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
