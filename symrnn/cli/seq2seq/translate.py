"""``seq2seq translate``: answer texts."""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from symrnn._files import replacing
from symrnn.cli.options import add_command, add_model, check_numbers
from symrnn.cli.progress import say
from symrnn.cli.sampling import add_sampling, check_sampling, is_sampling, sampling
from symrnn.cli.seq2seq.pairs import MODEL
from symrnn.cli.sources import check_no_input
from symrnn.cli.training import load_best
from symrnn.models.seq2seq.run import Seq2SeqRun
from symrnn.models.seq2seq.translation import Answer, Translator


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "translate", run, text="Answer texts.")
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT",
        help="quote a text of several words (default: the lines of stdin)",
    )  # fmt: skip
    parser.add_argument("--beam", type=int, metavar="W", help="beam search of width W")
    parser.add_argument(
        "--n-best", type=int, metavar="N", help="show N answers of --beam, which is N if not given"
    )
    parser.add_argument(
        "--length-power", type=float, metavar="A",
        help="of --beam: score = log p / length^A; 0 favours short answers (default: 0)",
    )  # fmt: skip
    add_sampling(parser, temperature="default: greedy, or 1 with the options below")
    parser.add_argument(
        "--longest-source", type=int, metavar="N",
        help="tokens of a source, at most (default: as many as the longest in training has)",
    )  # fmt: skip
    parser.add_argument(
        "--map", type=Path, metavar="PNG", help="draw the attention of the first answer"
    )
    add_model(parser, MODEL)


def run(options: argparse.Namespace) -> None:
    """Answer texts."""
    _check(options)
    loaded = load_best(Seq2SeqRun, options.model)
    samples = sampling(options, n_tokens=len(loaded.vocabularies.target))
    translator = loaded.translator()
    if options.longest_source is not None:
        translator.longest_source = options.longest_source
        translator.longest = max(translator.longest, 2 * options.longest_source)
    texts = _texts(options, translator)
    if options.beam is not None:
        answers = _print_best(texts, translator, options)
    else:
        how = samples if is_sampling(options) else {}
        answers = translator.translate([text for text in texts if text], **how)
        left = iter(answers)
        for text in texts:
            print(next(left).text if text else "")
    if options.map is not None and answers:
        _draw(answers[0], options.map)


def _check(options: argparse.Namespace) -> None:
    """Check what can be checked without a model; ``--n-best`` alone is a beam search."""
    sampled = is_sampling(options)
    if sampled and options.beam is not None:
        raise ValueError(
            "--beam does not sample: leave out --temperature, --top-k, --top-p and --seed"
        )
    if options.beam is None and not sampled:
        options.beam = options.n_best
    if options.beam is None and (options.n_best, options.length_power) != (None, None):
        raise ValueError("--n-best and --length-power belong to --beam W, which does not sample")
    check_numbers(
        ("--beam", options.beam, 1), ("--n-best", options.n_best, 1),
        ("--longest-source", options.longest_source, 1),
    )  # fmt: skip
    check_sampling(options)
    if options.map is not None:
        check_no_input("--map", options.map, inputs=[options.model])
    if options.length_power is not None and not 0 <= options.length_power < np.inf:
        raise ValueError(f"--length-power is {options.length_power}, but must be 0 or more")
    if (options.n_best or 1) > (options.beam or 1):
        raise ValueError(f"--n-best is {options.n_best}, but --beam keeps only {options.beam}")


def _texts(options: argparse.Namespace, translator: Translator) -> list[str]:
    """Return the texts to be answered; a blank line of stdin stays one."""
    if options.texts:
        return list(options.texts)
    texts = [line.strip() for line in sys.stdin]
    for k, text in enumerate(texts):
        try:
            if text:
                translator.encode(text)
        except ValueError as error:
            raise ValueError(f"line {k + 1} of stdin, {text!r}: {error}") from error
    return texts


def _print_best(
    texts: list[str], translator: Translator, options: argparse.Namespace
) -> list[Answer]:
    """Print the best answers to each text; return the best one of each."""
    n_best, best = options.n_best or 1, []
    power = options.length_power or 0.0
    for text in texts:
        if n_best > 1 and len(texts) > 1:
            print(text)
        found = []
        if text:
            found = translator.beam_search(
                text, width=options.beam, n_best=n_best, length_power=power
            )
        best += found[:1]
        for answer in found:
            print(f"{answer.score:9.4f}  {answer.text}" if n_best > 1 else answer.text)
        if not found:
            print()
    return best


def _draw(answer: Answer, path: Path) -> None:
    """Draw the attention of an answer."""
    from matplotlib.figure import Figure  # slow to import, and only needed here

    from symrnn.plots import attention_map

    if answer.weights is None:
        raise ValueError("this model has no attention to draw: leave out --map")
    figure = Figure(layout="constrained")
    attention_map(answer.weights, answer.source, answer.tokens, ax=figure.subplots())
    with warnings.catch_warnings(record=True) as caught, replacing(path) as stream:
        warnings.simplefilter("always")
        figure.savefig(stream, format="png", dpi=110)
    if any("missing from font" in str(w.message) for w in caught):
        say("matplotlib's font lacks some of these characters: they are drawn as boxes")
    say(f"the attention at each step of the answer: {path}")
