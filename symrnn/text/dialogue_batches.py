"""Batches of dialogues: time, turns and dialogues as the axes of arrays, with padding and masks.

`symrnn.text.dialogues` has an example from a file to a batch.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_rng, check_sizes
from symrnn.text.padding import padded
from symrnn.text.tokens import EOS


class DialogueBatch(NamedTuple):
    """Dialogues as arrays, time first."""

    words: NDArray[np.int64]
    """Token numbers and ``<eos>`` after the last, ``(time, turns, batch)``; 0 in padding."""
    mask: NDArray[np.bool_]
    """Where there are tokens, ``<eos>`` among them, ``(time, turns, batch)``."""


def padded_dialogues(dialogues: Sequence[Sequence[ArrayLike]], *, eos: int) -> DialogueBatch:
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
    TypeError
        If a token or `eos` is no whole number.

    Examples
    --------
    >>> words, mask = padded_dialogues([[[1, 2], [3]], [[4]]], eos=0)
    >>> words[:, :, 0].T.tolist(), mask[:, :, 0].T.tolist()
    ([[1, 2, 0], [3, 0, 0]], [[True, True, True], [True, True, False]])
    >>> mask[:, :, 1].T.tolist()
    [[True, True, False], [False, False, False]]
    """
    _check_eos(eos)
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
    *,
    batch_size: int,
    eos: int,
    rng: Generator | None = None,
    most_turns: int | None = None,
) -> "DialogueBatches":
    """Make batches of dialogues for models that reply.

    How much memory a batch takes goes with its number of turns, and a long dialogue may have
    hundreds. `most_turns` cuts it into pieces, each beginning with the utterance that the piece
    before it ended with. So every utterance but the first is still a reply once, and what was said
    before its piece is forgotten. For a model that learns from the last reply alone (`last_only` of
    `symrnn.models.dialogue.model.DialogueModel`) leave it out: each piece has a last reply, so pieces of
    3 of five utterances teach it the third and the fifth.

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
    return DialogueBatches(
        dialogues, batch_size=batch_size, eos=eos, rng=rng, most_turns=most_turns
    )


class DialogueBatches(Sequence[DialogueBatch]):
    """The batches that `dialogue_batches` returns; each is made when it is asked for."""

    def __init__(
        self,
        dialogues: Sequence[Sequence[ArrayLike]],
        *,
        batch_size: int,
        eos: int,
        rng: Generator | None = None,
        most_turns: int | None = None,
    ) -> None:
        check_sizes(batch_size=batch_size)
        _check_eos(eos)
        if rng is not None:
            check_rng(rng)
        if most_turns is not None and (
            not isinstance(most_turns, int | np.integer) or most_turns < 2
        ):
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
        return padded_dialogues([self._pieces[k] for k in part], eos=self.eos)


def _check_eos(eos: Any) -> None:
    if not isinstance(eos, int | np.integer):
        raise TypeError(f"eos is {eos!r}, but must be the number of {EOS}: vocabulary.eos")


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
