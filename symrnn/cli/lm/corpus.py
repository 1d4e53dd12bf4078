"""The texts of a language model's training, and the losses on them in words."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symrnn.cli.sources import check_unchanged
from symrnn.models.language.run import LanguageRun
from symrnn.text import Characters, encode_files, text_files

MODEL = "model.safetensors"


def corpus(run: LanguageRun, folder: Path) -> Sequence[Any]:
    """Return the token ids of a run's texts, memory-mapped: training, validation, perhaps test.

    Parameters
    ----------
    run
        Its `source` says where the texts are.
    folder
        Where the token ids are kept.
    """
    texts, validation = run.source["texts"], run.source["validation"]
    found = [_checksum(paths) for paths in (texts, validation) if paths]
    check_unchanged(run.source, found, what=f"the texts {', '.join([*texts, *validation])}")

    def encoded(paths: list[str]) -> Any:
        encoding = run.source["encoding"]
        return encode_files(paths, run.tokenizer, run.vocabulary, cache=folder, encoding=encoding)

    if validation:
        return encoded(texts), encoded(validation)
    return run.split(encoded(texts))


def describe_loss(loss: float, run: LanguageRun) -> str:
    """Say a loss in nats, as perplexity, and for characters in bits."""
    bits = f", {loss / np.log(2):.3f} bits/char" if isinstance(run.tokenizer, Characters) else ""
    return f"{loss:.4f} nats, perplexity {np.exp(loss):.4g}{bits}"


def _checksum(paths: Sequence[str]) -> str:
    """Return what tells whether texts are the same."""
    total = hashlib.sha256()
    for file in text_files(paths):
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
