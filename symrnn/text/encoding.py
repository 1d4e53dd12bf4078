"""From texts to token ids and back: what the vocabularies of pairs and of dialogues share."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symrnn.text.tokens import EOS, Tokenizer
from symrnn.text.vocabulary import UnknownTokenError, Vocabulary


def check_has_eos(vocabulary: Vocabulary, name: str, ended: str) -> None:
    """Raise ValueError if a vocabulary has no ``<eos>``."""
    if vocabulary.eos is None:
        raise ValueError(
            f"{name} has no {EOS}, with which every {ended} ends: build it with specials=({EOS!r},)"
        )


def encode_text(
    text: str, vocabulary: Vocabulary, tokenizer: Tokenizer, where: str | None = None
) -> NDArray[np.int64]:
    """Return the token ids of a text; the error for an unknown token says where it is."""
    try:
        return vocabulary.encode(tokenizer.tokenize(text))
    except UnknownTokenError as error:
        error.add_note(f"It is in {where or repr(text)}.")
        raise


def decode_text(ids: ArrayLike, vocabulary: Vocabulary, tokenizer: Tokenizer) -> str:
    """Return the text of token ids of shape ``(time,)``, up to ``<eos>``."""
    tokens = vocabulary.decode(ids)
    return tokenizer.detokenize(tokens[: tokens.index(EOS)] if EOS in tokens else tokens)
