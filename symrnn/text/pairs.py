r"""Pairs of texts, a source and its target: from a file to batches for sequence to sequence models.

>>> import tempfile, pathlib
>>> folder = tempfile.TemporaryDirectory()
>>> file = pathlib.Path(folder.name) / "sums.txt"
>>> _ = file.write_text("16+75  _91  \n52+607 _659 \n75+22  _97  \n")
>>> pairs = read_pairs(file)
>>> train, test = split_pairs(pairs, 1, np.random.default_rng(1))
>>> train, test
([('52+607', '659'), ('75+22', '97')], [('16+75', '91')])
>>> both = PairVocabularies.build(pairs)
>>> sources, targets = both.encode(train)
>>> batches = pair_batches(sources, targets, 128, eos=both.target.eos)
>>> [array.shape for array in batches[0]]
[(6, 2), (6, 2), (4, 2), (4, 2)]
>>> both.answer(batches[0].target[:, 0])
'659'
>>> folder.cleanup()
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, DTypeLike, NDArray

from symrnn.text.batches import check_rng, check_sizes
from symrnn.text.corpora import read_text
from symrnn.text.tokens import EOS, UNK, Characters, Tokenizer
from symrnn.text.vocabulary import UnknownTokenError, Vocabulary

Pair = tuple[str, str]

POOL = 50
"""With ``by_length``, pairs are sorted within pools of so many batches."""


class PairBatch(NamedTuple):
    """Pairs as arrays, time first."""

    source: NDArray[np.int64]
    """Token numbers, ``(source time, batch)``; 0 where there is only padding."""
    source_mask: NDArray[np.bool_]
    """Where there are tokens, ``(source time, batch)``."""
    target: NDArray[np.int64]
    """Token numbers and ``<eos>`` after the last, ``(target time, batch)``."""
    target_mask: NDArray[np.bool_]
    """Where there are tokens, ``<eos>`` among them, ``(target time, batch)``."""


def read_pairs(
    path: str | os.PathLike[str], separator: str | None = None, encoding: str = "utf-8"
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
    text = read_text(path, encoding).replace("\r\n", "\n").replace("\r", "\n")
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
    pairs: Iterable[Pair], n_test: int, rng: Generator
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
    >>> split_pairs(pairs, 2, np.random.default_rng(0))
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
        cls, pairs: Iterable[Pair], tokenizer: Tokenizer | None = None, min_count: int = 1
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


def padded(
    sequences: Sequence[ArrayLike], dtype: DTypeLike = np.int64
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Put sequences of differing length side by side, with zeros below the shorter ones.

    Parameters
    ----------
    sequences
        Each of shape ``(time,)``.
    dtype
        Of the array.

    Returns
    -------
    array : array of shape (time, batch)
        One sequence a column, as long as the longest.
    mask : array of bool of shape (time, batch)
        True where the sequences are, False for padding.

    Raises
    ------
    ValueError
        If there is no sequence, or one has not one axis.

    Examples
    --------
    >>> array, mask = padded([[1, 2, 3], [4]])
    >>> array.tolist()
    [[1, 4], [2, 0], [3, 0]]
    >>> mask.T.tolist()
    [[True, True, True], [True, False, False]]
    """
    columns = [np.asarray(sequence) for sequence in sequences]
    shapes = {column.shape for column in columns if column.ndim != 1}
    if not columns or shapes:
        raise ValueError(
            f"of {len(columns)} sequences some have shape {shapes or '()'}, but there must be at "
            "least one, and each must have shape (time,)"
        )
    lengths = np.array([len(column) for column in columns])
    mask = np.arange(lengths.max())[:, None] < lengths
    array = np.zeros(mask.shape, dtype)
    array.T[mask.T] = np.concatenate(columns)
    return array, mask


def pair_batches(
    sources: Sequence[ArrayLike],
    targets: Sequence[ArrayLike],
    batch_size: int,
    eos: int | None,
    rng: Generator | None = None,
    by_length: bool = False,
) -> "PairBatches":
    """Make batches of pairs for models that read a source and write a target.

    Every target ends with ``<eos>``, which is put there. What a decoder is given at step t is the
    target's token at step t - 1, and a start token at first: the model itself shifts the target
    so, and here it is not shifted.

    Parameters
    ----------
    sources, targets
        Token numbers of each source and its target, arrays of shape ``(time,)`` of any length, as
        `PairVocabularies.encode` returns them. No source is empty.
    batch_size
        Pairs in a batch, at least 1; a last batch holds what is left.
    eos
        The number of ``<eos>`` among the targets' tokens.
    rng
        Source of a new random order each time that the batches are gone through. Default: always
        the order given, which is what one wants to test a model.
    by_length
        Put pairs of similar length together, so that there is less padding: the pairs, in random
        order, are cut into pools of 50 batches; each pool is sorted by the lengths of sources and
        targets and cut into batches; and the batches are shuffled. Without `rng` nothing is
        shuffled, but pools are sorted.

    Returns
    -------
    Sequence of PairBatch
        Tuples ``(source, source_mask, target, target_mask)``, each of shape ``(time, batch)``;
        int64 and bool. It can be gone through many times, as `symrnn.training.train` does, and
        knows its length. An index gives a batch in the order of the last time.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or a target holds ``<eos>`` already.

    Examples
    --------
    >>> batches = pair_batches([[5, 6, 7], [8]], [[1], [2, 3]], batch_size=2, eos=0)
    >>> for source, source_mask, target, target_mask in batches:
    ...     print(source.T.tolist(), target.T.tolist())
    ...     print(source_mask.sum(0).tolist(), target_mask.sum(0).tolist())
    [[5, 6, 7], [8, 0, 0]] [[1, 0, 0], [2, 3, 0]]
    [3, 1] [2, 3]
    """
    return PairBatches(sources, targets, batch_size, eos, rng, by_length)


class PairBatches(Sequence[PairBatch]):
    """The batches that `pair_batches` returns; each is made when it is asked for."""

    def __init__(
        self,
        sources: Sequence[ArrayLike],
        targets: Sequence[ArrayLike],
        batch_size: int,
        eos: int | None,
        rng: Generator | None = None,
        by_length: bool = False,
    ) -> None:
        check_sizes(batch_size=batch_size)
        if not isinstance(eos, int | np.integer):
            raise TypeError(
                f"eos is {eos!r}, but must be the number of {EOS}, for example vocabulary.eos of "
                "the targets' vocabulary"
            )
        if rng is not None:
            check_rng(rng)
        if len(sources) != len(targets) or not len(sources):
            raise ValueError(
                f"there are {len(sources)} sources and {len(targets)} targets, but each source "
                "must have a target, and there must be at least one"
            )
        self._sources = [_numbers(s, f"source {k}") for k, s in enumerate(sources)]
        self._targets = [_numbers(t, f"target {k}") for k, t in enumerate(targets)]
        for k, (source, target) in enumerate(zip(self._sources, self._targets, strict=True)):
            if not len(source):
                raise ValueError(f"source {k} is empty, but a model must have something to read")
            if eos in target:
                raise ValueError(
                    f"target {k} holds {eos}, the number of {EOS}, which is put at its end here: "
                    "give targets without it"
                )
        self._targets = [np.append(target, eos) for target in self._targets]
        self.batch_size, self.rng, self.by_length = batch_size, rng, by_length
        self._parts = self._cut(np.arange(len(self._targets)))

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def longest(self) -> tuple[int, int]:
        """How many tokens the longest source and the longest target have, without ``<eos>``."""
        return max(map(len, self._sources)), max(map(len, self._targets)) - 1

    def __iter__(self) -> Iterator[PairBatch]:
        """Go through all pairs once, in a new order if there is a source of it."""
        if self.rng is not None:
            self.shuffle(self.rng)
        return map(self._batch, self._parts)

    def shuffle(self, rng: Generator) -> None:
        """Put the pairs in a new order."""
        self._parts = self._cut(rng.permutation(len(self._targets)))
        if self.by_length:
            self._parts = [self._parts[k] for k in rng.permutation(len(self._parts))]

    @overload
    def __getitem__(self, index: int) -> PairBatch: ...
    @overload
    def __getitem__(self, index: slice) -> list[PairBatch]: ...
    def __getitem__(self, index: int | slice) -> PairBatch | list[PairBatch]:
        """Return one batch, or a list of several, in the order of the last time."""
        if isinstance(index, slice):
            return list(map(self._batch, self._parts[index]))
        return self._batch(self._parts[index])

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return which pairs are in which batch."""
        if self.by_length:
            lengths = np.array([(len(self._targets[k]), len(self._sources[k])) for k in order])
            size = POOL * self.batch_size
            pools = range(0, len(order), size)
            order = np.concatenate(
                [order[k : k + size][np.lexsort(lengths[k : k + size].T)] for k in pools]
            )
        starts = range(0, len(order), self.batch_size)
        return [order[k : k + self.batch_size] for k in starts]

    def _batch(self, part: NDArray[np.int64]) -> PairBatch:
        source, source_mask = padded([self._sources[k] for k in part])
        target, target_mask = padded([self._targets[k] for k in part])
        return PairBatch(source, source_mask, target, target_mask)


def _numbers(tokens: ArrayLike, name: str) -> NDArray[np.int64]:
    numbers = np.asarray(tokens)
    if numbers.ndim != 1:
        raise ValueError(f"{name} has shape {numbers.shape}, but must have shape (time,)")
    if numbers.size and numbers.dtype.kind not in "iu":
        raise TypeError(
            f"{name} is {numbers.dtype}, but must be whole numbers: vocabulary.encode(...)"
        )
    return numbers.astype(np.int64)
