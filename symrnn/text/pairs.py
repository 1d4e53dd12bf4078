r"""Pairs of texts, a source and its target: from a file to batches for sequence-to-sequence models.

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

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_rng, check_sizes
from symrnn.text.encoding import check_has_eos, decode_text, encode_text
from symrnn.text.lines import quoted, read_lines
from symrnn.text.tokens import EOS, UNK, Characters, Tokenizer
from symrnn.text.vocabulary import Vocabulary

Pair = tuple[str, str]


def read_pairs(
    path: str | os.PathLike[str], *, separator: str | None = None, encoding: str = "utf-8"
) -> list[Pair]:
    r"""Read pairs from a text file with one pair per line: source, separator, target.

    Spaces around source and target are left out, as are blank lines. Pairs that occur twice are
    returned twice.

    Parameters
    ----------
    path
        The file.
    separator
        What stands between source and target, once in every line. Default: a tab if there is one
        in the first line, else an underscore.
    encoding
        Character encoding of the file, for example ``"latin-1"`` or ``"utf-16"``.

    Returns
    -------
    list of (source, target)
        In the order of the lines.

    Raises
    ------
    OSError
        If there is no such file, or it is a folder.
    ValueError
        If the file is empty, binary or in another encoding, or a line is not a pair; the message
        names file and line.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "words.txt"
    >>> _ = file.write_text("cat\tKatze\ndog\tHund\n")
    >>> read_pairs(file)
    [('cat', 'Katze'), ('dog', 'Hund')]
    """
    lines = [
        (f"{path}, line {k}", line)
        for k, line in read_lines(
            path, encoding=encoding, separator=separator, wanted="one pair per line"
        )
        if line.strip(" ")
    ]
    if not lines:
        raise ValueError(f"{path} holds only blank lines, and no pair")
    if separator is None:
        separator = _separator(*lines[0])
    return [_pair(place, line, separator) for place, line in lines]


def _separator(place: str, line: str) -> str:
    for separator in "\t_":
        if separator in line:
            return separator
    raise ValueError(
        f"{place}: {quoted(line)} has neither a tab nor an underscore. A line must be source, "
        "separator, target; another separator must be named (separator=';', or --separator ';')"
    )


def _pair(place: str, line: str, separator: str) -> Pair:
    parts = [part.strip() for part in line.split(separator)]
    if len(parts) == 2 and all(parts):
        return parts[0], parts[1]
    wrong = "an empty source or target" if len(parts) == 2 else f"{len(parts) - 1} separators"
    raise ValueError(
        f"{place}: {quoted(line)} has {wrong}, but must be source, {separator!r}, target, with one "
        "separator"
    )


def split_pairs(
    pairs: Iterable[Pair], n_test: int, *, rng: Generator
) -> tuple[list[Pair], list[Pair]]:
    """Split pairs at random into training and test; all pairs of one source are on one side.

    Parameters
    ----------
    pairs
        Sources and targets.
    n_test
        How many pairs to draw for the test, at least 1, and at least one must be left for
        training. It may be a few less if sources occur several times: all pairs of a source or
        none.
    rng
        Generator that draws the sources.

    Returns
    -------
    train, test : lists of (source, target)
        Both in the order of `pairs`.

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
    """The vocabularies of sources and of targets, and the tokenizer of both.

    Parameters
    ----------
    source, target
        The vocabularies; that of the targets has ``<eos>``.
    tokenizer
        What cuts sources and targets into tokens. Default: `Characters`.

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
        check_has_eos(self.target, "the targets' vocabulary", "target")

    @classmethod
    def build(
        cls, pairs: Iterable[Pair], *, tokenizer: Tokenizer | None = None, min_count: int = 1
    ) -> "PairVocabularies":
        """Build both vocabularies from pairs.

        Parameters
        ----------
        pairs
            Sources and targets.
        tokenizer
            What cuts sources and targets into tokens. Default: `Characters`.
        min_count
            How often a token must occur on its side to be kept. Above 1, both vocabularies have
            ``<unk>``, which stands for the others.
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
        """Return the token ids of all sources, and of all targets, without ``<eos>``.

        Raises
        ------
        UnknownTokenError
            If a token is unknown and there is no ``<unk>``; a note says in which text.
        """
        pairs = list(pairs)
        return (
            [self.encode_source(source) for source, _ in pairs],
            [encode_text(target, self.target, self.tokenizer) for _, target in pairs],
        )

    def encode_source(self, text: str) -> NDArray[np.int64]:
        """Return the token ids of one source, shape ``(time,)``.

        Raises
        ------
        UnknownTokenError
            If a token is unknown and there is no ``<unk>``; a note says in which text.
        """
        return encode_text(text, self.source, self.tokenizer)

    def answer(self, ids: ArrayLike) -> str:
        """Return the text of a target's token ids, shape ``(time,)``, up to ``<eos>``."""
        return decode_text(ids, self.target, self.tokenizer)
