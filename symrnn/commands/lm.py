"""``python -m symrnn lm``: train a language model on text files, and use it.

Each function here is a command, and takes what `symrnn.commands.lm_options` has read.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from symrnn.commands.progress import Progress, in_words
from symrnn.memory import keep_freed_memory
from symrnn.models.generation import Writer
from symrnn.models.language_run import LanguageRun
from symrnn.models.language_settings import Settings
from symrnn.models.training_settings import compiled_mode
from symrnn.parameters import check_positive
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
from symrnn.training import NonFiniteLossError


def train(options: argparse.Namespace) -> int:
    """``lm train``."""
    _check_out(options.out, options.force)
    _check_times(options)
    _check_least(("--vocab-size", options.vocab_size, 2), ("--min-count", options.min_count, 1))
    settings = Settings(**{f.name: getattr(options, f.name) for f in fields(Settings)})
    tokenizer = _tokenizer(options)
    _say(f"reading {', '.join(map(str, options.texts))}")
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
    _check_times(options)
    _check_no_model(options.texts)
    run = LanguageRun.load(options.model)
    names = ("epochs", "patience", "rate")
    new = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    run.change(**new)
    for name in ("texts", "validation"):
        if given := getattr(options, name):
            run.source[name] = [os.path.abspath(path) for path in given]
    return _train(run, options.model, options)


def _train(run: LanguageRun, path: Path, options: argparse.Namespace) -> int:
    """Train from where a run is."""
    parts = corpus(run, _beside(path, ".tokens"))
    s, n_batches = run.settings, run.n_batches(*parts[:2])
    n_steps = run.n_steps(n_batches)
    if run.stopped:
        _say(
            f"{path} was stopped early at step {run.n_done}: {s.patience} validations brought no "
            "better loss; to train more: --patience with a higher number"
        )
        return 0
    if run.n_done >= n_steps:
        _say(f"{path} is trained to its end, {run.n_done} steps; to train more: --epochs N")
        return 0
    n_weights = sum(p.get_value(borrow=True).size for p in run.model.params)
    _say(
        f"{len(parts[0]):,} tokens for training, {len(parts[1]):,} for validation; vocabulary of "
        f"{len(run.vocabulary):,}; {n_weights:,} weights; {n_batches:,} steps an epoch"
    )
    if s.mode == "NUMBA":
        _say("compiling; the first time this takes a minute or more")
        if sys.platform != "linux":
            _say("(outside Linux a first training and a resumed one differ in the seventh digit)")
    keep_freed_memory()
    progress = Progress(run, n_batches, _beside(path, ".png"))
    limit = float("inf") if options.minutes is None else 60 * options.minutes
    try:
        history = run.train(
            parts[0], parts[1], path, options.save_every, limit, progress.each_step,
            progress.each_validation,
        )  # fmt: skip
    except NonFiniteLossError as error:
        raise ValueError(
            f"the loss is {error.loss} after step {run.n_done}: train anew with a lower --rate or "
            f"a lower --clip; {path} holds what was saved before"
        ) from error
    except KeyboardInterrupt:
        _say(f"\nstopped at once; what was saved last is whole; {_how_to_go_on(path)}")
        return 130
    finally:
        progress.close()
    _say_how_it_ended(run, path, n_steps)
    return 130 if history.interrupted else 0


def _say_how_it_ended(run: LanguageRun, path: Path, n_steps: int) -> None:
    if run.losses:
        best = run.losses[run.stopping.best_epoch - 1]
        _say(
            f"best validation loss: {in_words(best['validation'], run)}, at step "
            f"{best['step']}, whose weights write and evaluate; curves in {_beside(path, '.png')}"
        )
    if run.stopped:
        _say(f"stopped early at step {run.n_done}: the validation loss falls no more")
    elif run.n_done < n_steps:
        _say(f"stopped at step {run.n_done} of {n_steps}; {_how_to_go_on(path)}")
    _say(f"saved: {path}")


def _how_to_go_on(path: Path) -> str:
    return f"to go on: python -m symrnn lm resume --model {path}"


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
            _, *rest = corpus(run, _beside(options.model, ".tokens"))
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
    _check_least(
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
    _check_count("--top-k", options.top_k, len(run.vocabulary))
    mode = options.mode or ("QUICK" if n <= 2000 else "NUMBA")
    if mode == "NUMBA":
        _say("compiling; the first time this takes half a minute")
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


def next_tokens(options: argparse.Namespace) -> None:
    """``lm next``."""
    run = _load_best(options)
    writer = Writer(run.model, run.vocabulary, run.tokenizer, compiled_mode(options.mode))
    offered = len(run.vocabulary) - (run.vocabulary.unk is not None)
    _check_count("-k", options.k, offered)
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
        _say(f"not in the vocabulary, so read as {UNK}: {' '.join(unknown)}")
    return run


def _tokenizer(options: argparse.Namespace) -> Tokenizer:
    if options.level == "word":
        return Words(
            lower=options.lower, punctuation=options.punctuation, line_ends=options.line_ends
        )
    return Characters(lower=options.lower)


def _beside(path: Path, ending: str) -> Path:
    """Return where what belongs to a model lies: its picture, the numbers of its tokens."""
    return path.with_name(path.name.removesuffix(".safetensors") + ending)


def _check_out(path: Path, force: bool) -> None:
    """Check before the long work that the model can be written, and overwrites nothing."""
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: give a file in it, --out {path / 'model.safetensors'}"
        )
    if path.suffix in (".png", ".tokens"):
        raise ValueError(
            f"{path} would be in the way of the picture or the tokens that lie beside the model: "
            f"give another --out, such as {path.with_suffix('.safetensors')}"
        )
    if path.exists() and not force:
        raise ValueError(
            f"{path} exists: go on with it (lm resume --model {path}), give another --out, or "
            "--force to overwrite it"
        )
    if (picture := _beside(path, ".png")).exists() and not force:
        raise ValueError(
            f"{picture} exists, and the curves would be drawn there: give another --out, or "
            "--force to overwrite it"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror}): give another --out") from error


def _check_least(*options: tuple[str, int | None, int]) -> None:
    for flag, value, least in options:
        if value is not None and value < least:
            raise ValueError(f"{flag} is {value}, but must be {least} or more")


def _check_count(flag: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise ValueError(
            f"{flag} is {value}, but must be from 1 to {most}, as many as the model has tokens"
        )


def _check_times(options: argparse.Namespace) -> None:
    if options.minutes is not None:
        check_positive("--minutes", options.minutes)
    check_positive("--save-every", options.save_every, or_zero=True)


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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
