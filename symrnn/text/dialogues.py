r"""Dialogues: from a file to batches for models that reply.

>>> import tempfile, pathlib
>>> folder = tempfile.TemporaryDirectory()
>>> file = pathlib.Path(folder.name) / "talk.txt"
>>> _ = file.write_text("Hello .\nHello !\nHow are you ?\nFine .\n\nGoodbye .\nSee you .\n")
>>> dialogues = read_dialogues(file)
>>> dialogues
[['Hello .', 'Hello !', 'How are you ?', 'Fine .'], ['Goodbye .', 'See you .']]
>>> words = DialogueVocabulary.build(dialogues)
>>> batches = dialogue_batches(words.encode(dialogues), batch_size=2, eos=words.eos)
>>> words_of_batch, mask = batches[0]
>>> words_of_batch.shape  # (time, turns, batch)
(5, 4, 2)
>>> words.text(words_of_batch[:, 2, 0])
'How are you?'
>>> folder.cleanup()
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn.text.batches import check_rng, check_sizes
from symrnn.text.corpora import read_text
from symrnn.text.padding import padded
from symrnn.text.tokens import EOS, UNK, Tokenizer, Words
from symrnn.text.vocabulary import UnknownTokenError, Vocabulary

Utterances = list[str]


def read_dialogues(
    path: str | os.PathLike[str], separator: str | None = None, encoding: str = "utf-8"
) -> list[Utterances]:
    r"""Read dialogues from a text file: one utterance a line, a blank line between dialogues.

    Or one dialogue a line, with a separator between utterances (and, if you like, after the last).
    Spaces around utterances are left out.

    Parameters
    ----------
    path
        The file.
    separator
        What stands between the utterances of a line, for example ``"\t"`` or ``"__eou__"``.
        Default: each line is one utterance.
    encoding
        How characters are written in the file; see `symrnn.text.read_pieces`.

    Returns
    -------
    list of lists of str
        The utterances of each dialogue, in order.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    ValueError
        If the file is empty, binary, or written in another encoding; if an utterance is empty, or a
        dialogue has only one, to which there is no reply: the message names file and line.

    Examples
    --------
    See the top of this module.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file with dialogues")
    if separator is not None and not separator.strip(" "):
        raise ValueError(
            f"the separator is {separator!r}, but must be something else than spaces, which are "
            "left out around utterances: for example '\\t'"
        )
    text = read_text(path, encoding).replace("\r\n", "\n").replace("\r", "\n")
    found: list[tuple[int, Utterances]] = []  # the line where each begins
    going_on = False
    for k, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            going_on = False
        elif separator is not None:
            found.append((k, _parts(line, separator, f"{path}, line {k}")))
        elif going_on:
            found[-1][1].append(line.strip())
        else:
            found.append((k, [line.strip()]))
            going_on = True
    if not found:
        raise ValueError(f"{path} holds only blank lines, and no dialogue")
    for k, utterances in found:
        if len(utterances) == 1:
            shape = (
                "a dialogue is two lines or more without a blank line between them"
                if separator is None
                else f"a line must be utterance, {separator!r}, reply and so on"
            )
            raise ValueError(
                f"{path}, line {k}: the dialogue has one utterance, "
                f"{_short(utterances[0])}, and no reply: {shape}"
            )
    return [utterances for _, utterances in found]


def _parts(line: str, separator: str, place: str) -> Utterances:
    parts = [part.strip() for part in line.strip(" ").split(separator)]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    if not all(parts):
        raise ValueError(
            f"{place}: utterance {parts.index('') + 1} of {_short(line)} is empty: nothing stands "
            f"before or between {separator!r}"
        )
    return parts


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


@dataclass(frozen=True)
class DialogueVocabulary:
    """The vocabulary of dialogues, and what cuts utterances into tokens.

    Parameters
    ----------
    vocabulary
        Has ``<eos>``, with which every utterance ends.
    tokenizer
        What makes tokens. Default: words.

    Raises
    ------
    ValueError
        If there is no ``<eos>``.

    Examples
    --------
    >>> words = DialogueVocabulary.build([["Who are you ?", "I am Ann ."]])
    >>> words.vocabulary.tokens
    ('<eos>', '.', '?', 'Ann', 'I', 'Who', 'am', 'are', 'you')
    >>> words.encode([["Who am I ?", "Ann ."]])
    [[array([5, 6, 4, 2]), array([3, 1])]]
    >>> words.text([3, 1, 0, 5])
    'Ann.'
    """

    vocabulary: Vocabulary
    tokenizer: Tokenizer = field(default_factory=Words)

    def __post_init__(self) -> None:
        if self.vocabulary.eos is None:
            raise ValueError(
                f"the vocabulary has no {EOS}, with which every utterance ends: build it with "
                f"specials=({EOS!r},)"
            )

    @classmethod
    def build(
        cls,
        dialogues: Iterable[Sequence[str]],
        tokenizer: Tokenizer | None = None,
        min_count: int = 1,
    ) -> "DialogueVocabulary":
        """Make the vocabulary of dialogues.

        Parameters
        ----------
        dialogues
            The utterances of each.
        tokenizer
            What makes tokens. Default: words.
        min_count
            How often a token must occur. If it is more than 1, the vocabulary has ``<unk>``, which
            stands for those that are left out.

        Raises
        ------
        ValueError
            See `Vocabulary.build`; also if there is no dialogue.
        """
        tokenizer = Words() if tokenizer is None else tokenizer
        specials = (EOS, UNK) if min_count > 1 else (EOS,)
        tokens = (
            t for dialogue in dialogues for said in dialogue for t in tokenizer.tokenize(said)
        )
        return cls(Vocabulary.build(tokens, min_count=min_count, specials=specials), tokenizer)

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def eos(self) -> int:
        """The number of ``<eos>``."""
        assert self.vocabulary.eos is not None
        return self.vocabulary.eos

    def encode(
        self, dialogues: Iterable[Sequence[str]], longest: int | None = None
    ) -> list[list[NDArray[np.int64]]]:
        """Return the token numbers of each utterance of each dialogue, without ``<eos>``.

        Parameters
        ----------
        dialogues
            The utterances of each.
        longest
            How many tokens an utterance may have. Default: any number.

        Raises
        ------
        UnknownTokenError
            If a token is unknown and there is no ``<unk>``; a note tells in which utterance.
        ValueError
            If a dialogue or an utterance is empty, or an utterance too long.
        TypeError
            If a dialogue is a string, and no list of them.
        """
        return [self._dialogue(d, f"dialogue {k}", longest) for k, d in enumerate(dialogues)]

    def text(self, ids: ArrayLike) -> str:
        """Return the text of an utterance's token numbers, shape ``(time,)``, up to ``<eos>``."""
        tokens = self.vocabulary.decode(np.asarray(ids, np.int64))
        return self.tokenizer.detokenize(tokens[: tokens.index(EOS)] if EOS in tokens else tokens)

    def _dialogue(
        self, dialogue: Sequence[str], name: str, longest: int | None
    ) -> list[NDArray[np.int64]]:
        if isinstance(dialogue, str):
            raise TypeError(
                f"{name} is a string, but must be a list of utterances: [{dialogue[:20]!r}]"
            )
        if not dialogue:
            raise ValueError(f"{name} is empty: it must have an utterance at least")
        found = []
        for k, utterance in enumerate(dialogue):
            try:
                ids = self.vocabulary.encode(self.tokenizer.tokenize(utterance))
            except UnknownTokenError as error:
                error.add_note(f"It is in utterance {k} of {name}, {utterance!r}.")
                raise
            if not ids.size:
                raise ValueError(f"utterance {k} of {name}, {utterance!r}, has no token in it")
            if longest is not None and len(ids) > longest:
                raise ValueError(
                    f"utterance {k} of {name} has {len(ids)} tokens, {_short(utterance)}, but at "
                    f"most {longest} are allowed: leave it out, cut it, or raise longest"
                )
            found.append(ids)
        return found


class DialogueBatch(NamedTuple):
    """Dialogues as arrays, time first."""

    words: NDArray[np.int64]
    """Token numbers and ``<eos>`` after the last, ``(time, turns, batch)``; 0 in padding."""
    mask: NDArray[np.bool_]
    """Where there are tokens, ``<eos>`` among them, ``(time, turns, batch)``."""


def padded_dialogues(dialogues: Sequence[Sequence[ArrayLike]], eos: int) -> DialogueBatch:
    """Put dialogues side by side, with zeros below shorter utterances and after the last turns.

    Parameters
    ----------
    dialogues
        For each its utterances, token numbers of shape ``(time,)`` without `eos`.
    eos
        The number of ``<eos>``, which is put after each utterance.

    Raises
    ------
    ValueError
        If there is no dialogue, or one has no utterance.

    Examples
    --------
    >>> words, mask = padded_dialogues([[[1, 2], [3]], [[4]]], eos=0)
    >>> words[:, :, 0].T.tolist(), mask[:, :, 0].T.tolist()
    ([[1, 2, 0], [3, 0, 0]], [[True, True, True], [True, True, False]])
    >>> mask[:, :, 1].T.tolist()
    [[True, True, False], [False, False, False]]
    """
    if not dialogues or not all(map(len, dialogues)):
        raise ValueError(
            f"there are {len(dialogues)} dialogues, of which some may be empty, but there must be "
            "at least one, and each must have an utterance"
        )
    turns = max(map(len, dialogues))
    columns: list[Any] = []
    for turn in range(turns):
        columns += [np.append(d[turn], eos) if turn < len(d) else [] for d in dialogues]
    words, mask = padded(columns)
    shape = (len(words), turns, len(dialogues))
    return DialogueBatch(words.reshape(shape), mask.reshape(shape))


def dialogue_batches(
    dialogues: Sequence[Sequence[ArrayLike]],
    batch_size: int,
    eos: int,
    rng: Generator | None = None,
    most_turns: int | None = None,
) -> "DialogueBatches":
    """Make batches of dialogues for models that reply.

    How much memory a batch takes goes with its number of turns, and a long dialogue may have
    hundreds. `most_turns` cuts it into pieces, each beginning with the utterance that the piece
    before it ended with. So every utterance but the first is still a reply once, and what was said
    before its piece is forgotten.

    Parameters
    ----------
    dialogues
        For each its utterances, token numbers of shape ``(time,)`` without ``<eos>``, as
        `DialogueVocabulary.encode` returns them: at least two, and none is empty.
    batch_size
        Dialogues (or pieces) in a batch, at least 1; a last batch holds what is left.
    eos
        The number of ``<eos>``, which is put after each utterance.
    rng
        Source of a new random order each time that the batches are gone through. Default: always
        the order given.
    most_turns
        Utterances in a piece, at least 2. Default: whole dialogues.

    Returns
    -------
    Sequence of DialogueBatch
        Tuples ``(words, mask)``, each of shape ``(time, turns, batch)``; int64 and bool. It can be
        gone through many times, and knows its length.

    Raises
    ------
    TypeError, ValueError
        If something is not as said, or an utterance holds ``<eos>`` already.

    Examples
    --------
    >>> batches = dialogue_batches([[[1], [2], [3], [4]]], batch_size=2, eos=0, most_turns=3)
    >>> batches[0].words[0].T.tolist()  # the first word of each turn of both pieces
    [[1, 2, 3], [3, 4, 0]]
    """
    return DialogueBatches(dialogues, batch_size, eos, rng, most_turns)


class DialogueBatches(Sequence[DialogueBatch]):
    """The batches that `dialogue_batches` returns; each is made when it is asked for."""

    def __init__(
        self,
        dialogues: Sequence[Sequence[ArrayLike]],
        batch_size: int,
        eos: int,
        rng: Generator | None = None,
        most_turns: int | None = None,
    ) -> None:
        check_sizes(batch_size=batch_size)
        if not isinstance(eos, int | np.integer):
            raise TypeError(f"eos is {eos!r}, but must be the number of {EOS}: vocabulary.eos")
        if rng is not None:
            check_rng(rng)
        if most_turns is not None and (not isinstance(most_turns, int) or most_turns < 2):
            raise ValueError(
                f"most_turns is {most_turns}, but must be 2 or more: an utterance and its reply"
            )
        if not dialogues:
            raise ValueError("there is no dialogue, but there must be at least one")
        checked = [_checked(d, f"dialogue {k}", eos) for k, d in enumerate(dialogues)]
        self._pieces = [
            dialogue[start : start + (most_turns or len(dialogue))]
            for dialogue in checked
            for start in range(0, len(dialogue) - 1, (most_turns or len(dialogue)) - 1)
        ]
        self.batch_size, self.eos, self.rng = batch_size, eos, rng
        self._order = np.arange(len(self._pieces))

    def __len__(self) -> int:
        return -(-len(self._pieces) // self.batch_size)

    def __iter__(self) -> Iterator[DialogueBatch]:
        """Go through all dialogues once, in a new order if there is a source of it."""
        if self.rng is not None:
            self._order = self.rng.permutation(len(self._pieces))
        return (self[k] for k in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> DialogueBatch: ...
    @overload
    def __getitem__(self, index: slice) -> list[DialogueBatch]: ...
    def __getitem__(self, index: int | slice) -> DialogueBatch | list[DialogueBatch]:
        """Return one batch, or a list of several, in the order of the last time."""
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self[k] for k in numbers]
        part = self._order[numbers * self.batch_size :][: self.batch_size]
        return padded_dialogues([self._pieces[k] for k in part], self.eos)


def _checked(dialogue: Sequence[ArrayLike], name: str, eos: int) -> list[NDArray[np.int64]]:
    if len(dialogue) < 2:
        raise ValueError(
            f"{name} has {len(dialogue)} utterances, but must have two or more: a model learns to "
            "reply"
        )
    utterances = [np.asarray(utterance) for utterance in dialogue]
    for k, u in enumerate(utterances):
        if u.ndim != 1 or not u.size:
            raise ValueError(
                f"utterance {k} of {name} has shape {u.shape}, but must have shape (time,) with at "
                "least one token"
            )
        if u.dtype.kind not in "iu":
            raise TypeError(
                f"utterance {k} of {name} is {u.dtype}, but must be whole numbers: "
                "DialogueVocabulary.encode(...)"
            )
        if eos in u:
            raise ValueError(
                f"utterance {k} of {name} holds {eos}, the number of {EOS}, which is put at its "
                "end here: give utterances without it"
            )
    return [u.astype(np.int64) for u in utterances]
