"""``python -m symrnn seq2seq``: train a model on pairs of texts, and let it answer.

Each function here is a command, and takes what `symrnn.cli.seq2seq_options` has read.
"""

import argparse
import hashlib
import os
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from symrnn._files import replacing
from symrnn.cli.options import changes
from symrnn.cli.training import check_count, check_least, check_out, check_times, say, train_run
from symrnn.models.seq2seq.run import Seq2SeqRun, Seq2SeqSettings
from symrnn.models.seq2seq.translation import Answer, Translator
from symrnn.tasks.dates import dates
from symrnn.tasks.strings import copying, decimal_addition, reversal, sorting
from symrnn.text import Pair, PairVocabularies, Words, read_pairs, split_pairs

TASKS: dict[str, Any] = {
    "addition": decimal_addition,
    "copying": copying,
    "dates": dates,
    "reversal": reversal,
    "sorting": sorting,
}


def train(options: argparse.Namespace) -> int:
    """``seq2seq train``."""
    if (options.pairs is None) == (options.task is None):
        raise ValueError("give a file with pairs, or --task with one of " + ", ".join(TASKS))
    check_out(options.out, options.force, "seq2seq")
    check_times(options)
    check_least(("--min-count", options.min_count, 1), ("--held-out", options.held_out, 1))
    settings = Seq2SeqSettings(
        **{f.name: getattr(options, f.name) for f in fields(Seq2SeqSettings)}
    )
    if settings.bidirectional and settings.n_hidden % 2:
        raise ValueError(
            f"--hidden is {settings.n_hidden}, but must be even: each direction has half of it"
        )
    source = {
        "pairs": None if options.pairs is None else os.path.abspath(options.pairs),
        "task": options.task,
        "validation": options.validation and os.path.abspath(options.validation),
        "held_out": options.held_out,
        "seed": settings.seed,
        "separator": options.separator,
        "encoding": options.encoding,
    }
    training, validation = pairs_of(source)
    tokenizer = Words(lower=options.lower) if options.level == "word" else None
    counted = [*training, *validation] if options.min_count == 1 else training
    both = PairVocabularies.build(
        counted, tokenizer=tokenizer, min_count=options.min_count
    )
    run = Seq2SeqRun(settings, both, source)
    return _train(run, training, validation, options.out, options)


def resume(options: argparse.Namespace) -> int:
    """``seq2seq resume``."""
    check_times(options)
    run = Seq2SeqRun.load(options.model)
    run.change(**changes(options))
    if options.pairs is not None:
        run.source["pairs"] = os.path.abspath(options.pairs)
    return _train(run, *pairs_of(run.source), options.model, options)


def _train(
    run: Seq2SeqRun, training: Any, validation: Any, path: Path, options: argparse.Namespace
) -> int:
    both = run.vocabularies
    what = (
        f"{len(training):,} pairs for training, {len(validation):,} for validation; "
        f"{len(both.source):,} tokens in sources, {len(both.target):,} in targets"
    )
    size = run.settings.batch_size
    return train_run(
        run, training, validation, path, options, "seq2seq", what, size, "pairs",
        lambda entry: f"{entry['validation']:.4f} nats, {100 * entry['right']:.4g}% right",
    )  # fmt: skip


def pairs_of(source: dict[str, Any]) -> tuple[list[Pair], list[Pair]]:
    """Return pairs for training and for validation.

    They share no source, or it is said how many.

    Raises
    ------
    OSError, ValueError
        If a file is not there, cannot be read, has a line that is no pair, or has changed.
    """
    rng, held_out = np.random.default_rng(source["seed"]), source["held_out"]
    if source["task"] is not None:
        training, validation = TASKS[source["task"]](rng=rng)
    else:
        options = {"separator": source["separator"], "encoding": source["encoding"]}
        training = read_pairs(source["pairs"], **options)
        if source["validation"]:
            validation = read_pairs(source["validation"], **options)
            known = {text for text, _ in training}
            if n_shared := sum(text in known for text, _ in validation):
                say(
                    f"{n_shared:,} of {len(validation):,} sources in {source['validation']} are "
                    "among those to learn from, too: they tell nothing of new ones"
                )
        else:
            n = min(5000, max(1, len(training) // 10)) if held_out is None else held_out
            try:
                training, validation = split_pairs(training, n, rng=rng)
            except ValueError as error:
                raise ValueError(
                    f"too few pairs to hold some out ({error}): --held-out N says how many, "
                    "--validation FILE gives others"
                ) from error
    found = [len(training), len(validation), hash_of([*training, *validation])]
    if source.setdefault("found", found) != found:
        raise ValueError(
            f"the pairs of {source['pairs'] or source['task']} are not those that the training "
            "began with: put these back, say where they are (PAIRS), or train a new model"
        )
    return training, validation


def evaluate(options: argparse.Namespace) -> None:
    """``seq2seq evaluate``."""
    run = Seq2SeqRun.load(options.model)
    run.use_best()
    source = run.source
    if options.pairs is None:
        name, pairs = "validation", pairs_of(source)[1]
    else:
        name = options.pairs
        pairs = read_pairs(options.pairs, separator=source["separator"], encoding=source["encoding"])
    wrong = run.translator().wrong_answers(pairs)
    loss, share = run.validate(pairs), 100 * (1 - len(wrong) / len(pairs))
    print(f"{name}: {loss:.4f} nats, {share:.4g}% of {len(pairs):,} answers right")
    for text, said, right in wrong[: options.show]:
        print(f"  {text} -> {said}, but right is {right}")


def hash_of(pairs: list[Pair]) -> str:
    """Return what tells whether pairs are the same."""
    return hashlib.sha256(repr(pairs).encode()).hexdigest()


def translate(options: argparse.Namespace) -> None:
    """``seq2seq translate``."""
    drawing = (options.temperature, options.top_k, options.top_p, options.seed) != (None,) * 4
    if drawing and options.beam is not None:
        raise ValueError("--beam draws nothing: leave out --temperature, --top-k, --top-p, --seed")
    if options.beam is None and not drawing:
        options.beam = options.n_best
    if options.beam is None and (options.n_best, options.length_power) != (None, None):
        raise ValueError("--n-best and --length-power belong to --beam W, which draws nothing")
    check_least(
        ("--seed", options.seed, 0), ("--beam", options.beam, 1), ("--n-best", options.n_best, 1),
        ("--longest", options.longest, 1),
    )  # fmt: skip
    if options.temperature is not None and not options.temperature > 0:
        raise ValueError(f"--temperature is {options.temperature}, but must be above 0")
    if options.top_p is not None and not 0 < options.top_p <= 1:
        raise ValueError(f"--top-p is {options.top_p}, but must be above 0 and at most 1")
    if options.length_power is not None and not 0 <= options.length_power < np.inf:
        raise ValueError(f"--length-power is {options.length_power}, but must be 0 or more")
    if (options.n_best or 1) > (options.beam or 1):
        raise ValueError(f"--n-best is {options.n_best}, but --beam keeps only {options.beam}")
    run = Seq2SeqRun.load(options.model)
    run.use_best()
    check_count("--top-k", options.top_k, len(run.vocabularies.target))
    translator = run.translator()
    if options.longest is not None:
        translator.longest_source = options.longest
        translator.longest = max(translator.longest, 2 * options.longest)
    texts = _texts(options, translator)
    if options.beam is not None:
        n_best, power = options.n_best or 1, options.length_power or 0.0
        answers = []
        for text in texts:
            if n_best > 1 and len(texts) > 1:
                print(text)
            found = translator.beam_search(text, options.beam, n_best, power) if text else []
            answers += found[:1]
            for answer in found:
                print(f"{answer.score:9.4f}  {answer.text}" if n_best > 1 else answer.text)
            if not found:
                print()
    else:
        rng = np.random.default_rng(options.seed) if drawing else None
        temperature = 1.0 if options.temperature is None else options.temperature
        draw = rng, temperature, options.top_k, options.top_p
        answers = translator.translate([text for text in texts if text], *draw)
        left = iter(answers)
        for text in texts:
            print(next(left).text if text else "")
    if options.map is not None and answers:
        _draw(answers[0], options.map)


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


def _draw(answer: Answer, path: Path) -> None:
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
    say(f"what each token was said looking at: {path}")
