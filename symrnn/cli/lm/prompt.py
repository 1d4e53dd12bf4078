"""A language model and a prompt for it, as `lm generate` and `lm next` load them."""

import argparse

from symrnn.cli.progress import say
from symrnn.cli.sources import check_no_model
from symrnn.cli.training import load_best
from symrnn.models.language.run import LanguageRun
from symrnn.text import UNK


def load_for_prompt(options: argparse.Namespace) -> LanguageRun:
    """Load a model with its best weights; say which words of the prompt it does not know."""
    check_no_model(options.prompt)
    run = load_best(LanguageRun, options.model)
    tokens = run.tokenizer.tokenize(options.prompt, unfinished=True)
    unknown = list(dict.fromkeys(token for token in tokens if token not in run.vocabulary))
    if unknown and run.vocabulary.unk is not None:
        say(f"not in the vocabulary, so read as {UNK}: {' '.join(unknown)}")
    return run
