r"""Pairs of texts, a source and its target: from a file to batches for sequence to sequence models.

>>> import tempfile, pathlib
>>> from symrnn.text import pair_batches
>>> folder = tempfile.TemporaryDirectory()
>>> file = pathlib.Path(folder.name) / "sums.txt"
>>> _ = file.write_text("16+75  _91  \n52+607 _659 \n75+22  _97  \n")
>>> pairs = read_pairs(file)
>>> train, test = split_pairs(pairs, 1, rng=np.random.default_rng(1))
>>> train, test
([('52+607', '659'), ('75+22', '97')], [('16+75', '91')])
>>> both = PairVocabularies.build(pairs)
>>> sources, targets = both.encode(train)
>>> batches = pair_batches(sources, targets, batch_size=128, eos=both.target.eos)
>>> [array.shape for array in batches[0]]
[(6, 2), (6, 2), (4, 2), (4, 2)]
>>> both.answer(batches[0].target[:, 0])
'659'
>>> folder.cleanup()
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_rng, check_sizes
from symrnn.text.corpora import read_text
from symrnn.text.tokens import EOS, UNK, Characters, Tokenizer
from symrnn.text.vocabulary import UnknownTokenError, Vocabulary

Pair = tuple[str, str]


def read_pairs(
    path: str | os.PathLike[str], *, separator: str | None = None, encoding: str = "utf-8"
) -> list[Pair]:
    r"""Read pairs from a text file with one pair a line: source, separator, target.

    Spaces around source and target are left out, as are blank lines. A pair that is there twice
    is returned twice.

    Parameters
    ----------
    path
        The file.
    separator
        What stands between source and target, once in every line. Default: a tab if there is one
        in the first line, else an underscore.
    encoding
        How characters are written in the file; see `read_pieces`.

    Returns
    -------
    list of (source, target)
        In the order of the lines.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    ValueError
        If the file is empty, binary, or written in another encoding; if the first line has none
        of both separators; if a line is no pair: the message names file and line.

    Examples
    --------
    See the top of this module.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file with one pair a line")
    if separator is not None and not separator.strip(" "):
        raise ValueError(
            f"the separator is {separator!r}, but must be something else than spaces, which are "
            "left out around source and target: for example '\\t' or ';'"
        )
    text = read_text(path, encoding=encoding).replace("\r\n", "\n").replace("\r", "\n")
    lines = [(k, line) for k, line in enumerate(text.split("\n"), 1) if line.strip(" ")]
    if not lines:
        raise ValueError(f"{path} holds only blank lines, and no pair")
    if separator is None:
        separator = _separator(lines[0][1], f"{path}, line {lines[0][0]}")
    return [_pair(line, separator, f"{path}, line {k}") for k, line in lines]


def _separator(line: str, place: str) -> str:
    for separator in "\t_":
        if separator in line:
            return separator
    raise ValueError(
        f"{place}: {_short(line)} has neither a tab nor an underscore. A line must be source, "
        "separator, target; another separator must be named (separator=';', or --separator ';')"
    )


def _pair(line: str, separator: str, place: str) -> Pair:
    parts = [part.strip() for part in line.split(separator)]
    if len(parts) == 2 and all(parts):
        return parts[0], parts[1]
    wrong = "an empty source or target" if len(parts) == 2 else f"{len(parts) - 1} separators"
    raise ValueError(
        f"{place}: {_short(line)} has {wrong}, but must be source, {separator!r}, target, with one "
        "separator"
    )


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:57] + "...")


def split_pairs(
    pairs: Iterable[Pair], n_test: int, *, rng: Generator
) -> tuple[list[Pair], list[Pair]]:
    """Draw pairs for a test; all pairs with the same source are on the same side.

    Parameters
    ----------
    pairs
        Sources and targets.
    n_test
        How many pairs to draw, at least 1, and at least one is left for training. If there are
        sources that occur several times it may be a few less: all pairs of a source or none.
    rng
        Source of the order.

    Returns
    -------
    train, test : lists of (source, target)
        `train` in the order of `pairs`, and `test` too.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or no pair would be left on a side.

    Examples
    --------
    >>> pairs = [("a", "A"), ("b", "B"), ("c", "C"), ("a", "A")]
    >>> split_pairs(pairs, 2, rng=np.random.default_rng(0))
    ([('a', 'A'), ('a', 'A')], [('b', 'B'), ('c', 'C')])
    """
    pairs = list(pairs)
    check_rng(rng)
    check_sizes(n_test=n_test)
    if n_test >= len(pairs):
        raise ValueError(
            f"n_test is {n_test}, but there are {len(pairs)} pairs, and one must be left to train"
        )
    places: dict[str, list[int]] = {}
    for k, (source, _) in enumerate(pairs):
        places.setdefault(source, []).append(k)
    groups, drawn = list(places.values()), set[int]()
    for g in rng.permutation(len(groups)):
        if len(drawn) + len(groups[g]) <= n_test:
            drawn.update(groups[g])
    if not drawn:
        raise ValueError(
            f"n_test is {n_test}, but every source occurs more often, at least "
            f"{min(map(len, groups))} times: a test takes all pairs of a source"
        )
    train = [pair for k, pair in enumerate(pairs) if k not in drawn]
    return train, [pairs[k] for k in sorted(drawn)]


@dataclass(frozen=True)
class PairVocabularies:
    """The vocabularies of sources and of targets, and what cuts both into tokens.

    Parameters
    ----------
    source, target
        The vocabularies; that of the targets has ``<eos>``.
    tokenizer
        What makes tokens of both. Default: characters.

    Raises
    ------
    ValueError
        If there is no ``<eos>`` for the targets.

    Examples
    --------
    >>> both = PairVocabularies.build([("2+3", "5"), ("2+9", "11")])
    >>> both.source.tokens, both.target.tokens
    (('+', '2', '3', '9'), ('<eos>', '1', '5'))
    >>> sources, targets = both.encode([("9+2", "11")])
    >>> sources, targets
    ([array([3, 0, 1])], [array([1, 1])])
    >>> both.answer([1, 1, 0, 2, 2])
    '11'
    """

    source: Vocabulary
    target: Vocabulary
    tokenizer: Tokenizer = field(default_factory=Characters)

    def __post_init__(self) -> None:
        if self.target.eos is None:
            raise ValueError(
                f"the targets' vocabulary has no {EOS}, with which every target ends: build it "
                f"with specials=({EOS!r},)"
            )

    @classmethod
    def build(
        cls, pairs: Iterable[Pair], *, tokenizer: Tokenizer | None = None, min_count: int = 1
    ) -> "PairVocabularies":
        """Make both vocabularies of pairs.

        Parameters
        ----------
        pairs
            Sources and targets.
        tokenizer
            What makes tokens of both. Default: characters.
        min_count
            How often a token must occur on its side. If it is more than 1, both vocabularies have
            ``<unk>``, which stands for those that are left out.

        Raises
        ------
        ValueError
            See `Vocabulary.build`; also if there is no pair.
        """
        tokenizer = Characters() if tokenizer is None else tokenizer
        unk = (UNK,) if min_count > 1 else ()
        cut = [(tokenizer.tokenize(source), tokenizer.tokenize(target)) for source, target in pairs]
        return cls(
            Vocabulary.build((t for s, _ in cut for t in s), min_count=min_count, specials=unk),
            Vocabulary.build(
                (t for _, s in cut for t in s), min_count=min_count, specials=(EOS, *unk)
            ),
            tokenizer,
        )

    def encode(
        self, pairs: Iterable[Pair]
    ) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """Return the token numbers of all sources, and of all targets, without ``<eos>``.

        Raises
        ------
        UnknownTokenError
            If a token is unknown and there is no ``<unk>``; a note tells in which text.
        """
        pairs = list(pairs)
        return (
            [self._encode(source, self.source) for source, _ in pairs],
            [self._encode(target, self.target) for _, target in pairs],
        )

    def encode_source(self, text: str) -> NDArray[np.int64]:
        """Return the token numbers of one source, shape ``(time,)``, as `encode` does."""
        return self._encode(text, self.source)

    def answer(self, ids: ArrayLike) -> str:
        """Return the text of a target's token numbers, shape ``(time,)``, up to ``<eos>``."""
        tokens = self.target.decode(ids)
        return self.tokenizer.detokenize(tokens[: tokens.index(EOS)] if EOS in tokens else tokens)

    def _encode(self, text: str, vocabulary: Vocabulary) -> NDArray[np.int64]:
        try:
            return vocabulary.encode(self.tokenizer.tokenize(text))
        except UnknownTokenError as error:
            error.add_note(f"It is in {text!r}.")
            raise
