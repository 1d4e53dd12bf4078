"""``python -m symrnn lm``: train a language model on text files, and use it.

Each function here is a command, and takes what `symrnn.cli.lm_options` has read.
"""

import argparse
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from symrnn.cli.options import changes
from symrnn.cli.training import (
    beside,
    check_count,
    check_least,
    check_out,
    check_times,
    say,
    train_run,
)
from symrnn.models.language.generation import Writer
from symrnn.models.language.run import LanguageRun
from symrnn.models.language.settings import Settings
from symrnn.text import (
    UNK,
    Characters,
    Tokenizer,
    Vocabulary,
    Words,
    count_tokens,
    encode_files,
    read_pieces,
    text_files,
)
from symrnn.training.settings import compiled_mode


def train(options: argparse.Namespace) -> int:
    """``lm train``."""
    check_out(options.out, options.force, "lm")
    check_times(options)
    check_least(("--vocab-size", options.vocab_size, 2), ("--min-count", options.min_count, 1))
    settings = Settings(**{f.name: getattr(options, f.name) for f in fields(Settings)})
    tokenizer = _tokenizer(options)
    say(f"reading {', '.join(map(str, options.texts))}")
    counts = count_tokens(read_pieces(options.texts, options.encoding), tokenizer)
    words = options.level == "word"
    min_count = options.min_count or (2 if words else 1)  # words left out teach what <unk> is
    limited = options.vocab_size is not None or min_count > 1
    vocabulary = Vocabulary.build(
        counts, options.vocab_size or (10_000 if words else None), min_count,
        specials=(UNK,) if words or limited or options.validation else (),
    )  # fmt: skip
    source = {
        "texts": [os.path.abspath(path) for path in options.texts],
        "validation": [os.path.abspath(path) for path in options.validation],
        "encoding": options.encoding,
    }
    run = LanguageRun(settings, tokenizer, vocabulary, source)
    return _train(run, options.out, options)


def resume(options: argparse.Namespace) -> int:
    """``lm resume``."""
    check_times(options)
    _check_no_model(options.texts)
    run = LanguageRun.load(options.model)
    run.change(**changes(options))
    for name in ("texts", "validation"):
        if given := getattr(options, name):
            run.source[name] = [os.path.abspath(path) for path in given]
    return _train(run, options.model, options)


def _train(run: LanguageRun, path: Path, options: argparse.Namespace) -> int:
    """Train from where a run is."""
    parts = corpus(run, beside(path, ".tokens"))
    s = run.settings
    what = (
        f"{len(parts[0]):,} tokens for training, {len(parts[1]):,} for validation; vocabulary of "
        f"{len(run.vocabulary):,}"
    )
    return train_run(
        run, parts[0], parts[1], path, options, "lm", what, s.batch_size * s.n_steps, "tokens",
        lambda entry: in_words(entry["validation"], run),
    )  # fmt: skip


def corpus(run: LanguageRun, folder: Path) -> Sequence[Any]:
    """Return the tokens of a run's texts, mapped into memory: training, validation, perhaps test.

    Raises
    ------
    FileNotFoundError, ValueError
        If the texts are not there, cannot be read, or are not those of the run so far.
    """
    source = run.source
    found = [_hash(source[name]) for name in ("texts", "validation") if source[name]]
    if source.setdefault("sha256", found) != found:
        raise ValueError(
            f"the texts {', '.join([*source['texts'], *source['validation']])} are not those that "
            "the training began with: put these back, or train a new model"
        )

    def encoded(paths: list[str]) -> Any:
        return encode_files(paths, run.tokenizer, run.vocabulary, folder, source["encoding"])

    if source["validation"]:
        return encoded(source["texts"]), encoded(source["validation"])
    return run.parts(encoded(source["texts"]))


def evaluate(options: argparse.Namespace) -> None:
    """``lm evaluate``."""
    _check_no_model(options.texts)
    run = LanguageRun.load(options.model)
    run.use_best()
    if options.mode is not None:
        run.settings = replace(run.settings, mode=options.mode)
    with tempfile.TemporaryDirectory(prefix="symrnn_") as folder:
        if options.texts:
            given = options.texts, run.tokenizer, run.vocabulary, folder, options.encoding
            parts = {", ".join(options.texts): encode_files(*given)}
        else:
            _, *rest = corpus(run, beside(options.model, ".tokens"))
            parts = dict(zip(("validation", "test"), rest, strict=False))
        for name, tokens in parts.items():
            loss = run.evaluate(tokens)
            unknown = sum(
                int((tokens[k : k + 2**20] == run.vocabulary.unk).sum())
                for k in range(0, len(tokens), 2**20)
            )
            print(
                f"{name}: {in_words(loss, run)}; {len(tokens):,} tokens, "
                f"{100 * unknown / len(tokens):.2g}% {UNK}"
            )


def generate(options: argparse.Namespace) -> None:
    """``lm generate``."""
    draws = (options.temperature, options.top_k, options.top_p, options.seed)
    chosen = [options.greedy, options.beam is not None, draws != (None,) * 4]
    if sum(chosen) > 1:
        raise ValueError(
            "--greedy and --beam draw nothing: take one of them alone, or --temperature, --top-k, "
            "--top-p and --seed"
        )
    check_least(
        ("--seed", options.seed, 0), ("--length", options.length, 1), ("--beam", options.beam, 1)
    )
    if options.temperature is not None and not options.temperature > 0:
        raise ValueError(
            f"--temperature is {options.temperature}, but must be above 0; --greedy always takes "
            "the most probable token"
        )
    if options.top_p is not None and not 0 < options.top_p <= 1:
        raise ValueError(
            f"--top-p is {options.top_p}, but must be above 0 and at most 1; 0.9 is usual"
        )
    run, n = _load_best(options), options.length
    if n is None:
        n = 500 if isinstance(run.tokenizer, Characters) else 100
    check_count("--top-k", options.top_k, len(run.vocabulary))
    mode = options.mode or ("QUICK" if n <= 2000 else "NUMBA")
    if mode == "NUMBA":
        say("compiling; the first time this takes half a minute")
    writer = Writer(run.model, run.vocabulary, run.tokenizer, compiled_mode(mode))
    if options.beam is not None:
        pieces: Any = [writer.beam_search(options.prompt, n, options.beam)[0][0]]
    elif options.greedy:
        pieces = writer.stream(options.prompt, n)
    else:
        temperature = 1.0 if options.temperature is None else options.temperature
        rng = np.random.default_rng(options.seed)
        pieces = writer.stream(options.prompt, n, rng, temperature, options.top_k, options.top_p)
    print(options.prompt, end="")
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def in_words(loss: float, run: LanguageRun) -> str:
    """Say a loss in nats, as perplexity, and for characters in bits."""
    bits = f", {loss / np.log(2):.3f} bits/char" if isinstance(run.tokenizer, Characters) else ""
    return f"{loss:.4f} nats, perplexity {np.exp(loss):.4g}{bits}"


def next_tokens(options: argparse.Namespace) -> None:
    """``lm next``."""
    run = _load_best(options)
    writer = Writer(run.model, run.vocabulary, run.tokenizer, compiled_mode(options.mode))
    offered = len(run.vocabulary) - (run.vocabulary.unk is not None)
    check_count("-k", options.k, offered)
    k = min(10, offered) if options.k is None else options.k
    for token, p in writer.next_words(options.prompt, k):
        shown = token if token.isprintable() and not token.isspace() else repr(token)
        print(f"{p:8.4f}  {shown}")


def _load_best(options: argparse.Namespace) -> LanguageRun:
    """Load a model to write with; say which words of the prompt it does not know."""
    _check_no_model([options.prompt])
    run = LanguageRun.load(options.model)
    run.use_best()
    tokens = run.tokenizer.tokenize(options.prompt, unfinished=True)
    unknown = list(dict.fromkeys(token for token in tokens if token not in run.vocabulary))
    if unknown and run.vocabulary.unk is not None:
        say(f"not in the vocabulary, so read as {UNK}: {' '.join(unknown)}")
    return run


def _tokenizer(options: argparse.Namespace) -> Tokenizer:
    if options.level == "word":
        return Words(
            lower=options.lower, punctuation=options.punctuation, line_ends=options.line_ends
        )
    return Characters(lower=options.lower)


def _check_no_model(texts: Sequence[str]) -> None:
    """Check that no model was given where a text is meant."""
    for text in texts:
        if text.endswith(".safetensors"):
            raise ValueError(f"{text} is given as a text; a model is given with --model {text}")


def _hash(paths: Sequence[str]) -> str:
    """Return what tells whether texts are the same."""
    total = hashlib.sha256()
    for file in text_files(paths):
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
