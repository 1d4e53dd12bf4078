"""Batches of dialogues: arrays with time, turns and dialogues as axes, padded and masked.

`symrnn.text.dialogues` has an example from a file to a batch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_token_id, check_whole
from symrnn.text.batch_sequence import ShuffledBatches
from symrnn.text.padding import checked_ids, padded


class DialogueBatch(NamedTuple):
    """Dialogues as arrays, time first."""

    words: NDArray[np.int64]
    """Token ids, ``<eos>`` after the last, ``(time, turns, batch)``; 0 in padding."""
    mask: NDArray[np.bool_]
    """True for tokens, ``<eos>`` included, False for padding, ``(time, turns, batch)``."""


def padded_dialogues(dialogues: Sequence[Sequence[ArrayLike]], *, eos: int) -> DialogueBatch:
    """Put dialogues side by side, with zeros after shorter utterances and missing turns.

    Parameters
    ----------
    dialogues
        At least one. Each is a list of utterances, at least one, which are token ids of shape
        ``(time,)`` without ``<eos>``.
    eos
        Token id of ``<eos>``, which is appended to each utterance.

    Examples
    --------
    >>> words, mask = padded_dialogues([[[1, 2], [3]], [[4]]], eos=0)
    >>> words[:, :, 0].T.tolist(), mask[:, :, 0].T.tolist()
    ([[1, 2, 0], [3, 0, 0]], [[True, True, True], [True, True, False]])
    >>> mask[:, :, 1].T.tolist()
    [[True, True, False], [False, False, False]]
    """
    check_token_id("eos", eos)
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
    """Make padded batches of dialogues for models that reply.

    A batch takes memory in proportion to its number of turns, and a long dialogue may have
    hundreds. `most_turns` cuts it into segments, each of which begins with the last utterance of
    the one before. So every utterance but the first is still a reply once, with the context of its
    segment alone. Do not use it for a model that learns from the last reply alone (`last_only` of
    `symrnn.DialogueModel`): each segment has a last reply, so segments of 3 out of five utterances
    teach it the third and the fifth.

    Parameters
    ----------
    dialogues
        At least one. Each is a list of utterances, at least two, which are token ids of shape
        ``(time,)`` without ``<eos>``, not empty, as `DialogueVocabulary.encode` returns them.
    batch_size
        Dialogues (or segments) in a batch; the last batch holds those that are left.
    eos
        Token id of ``<eos>``, which is appended to each utterance.
    rng
        Generator for a new random order in each epoch. Default: always the order given.
    most_turns
        Utterances in a segment, at least 2. Default: whole dialogues.

    Returns
    -------
    Sequence of DialogueBatch
        Tuples ``(words, mask)``, each of shape ``(time, turns, batch)``, int64 and bool. It has a
        length and can be iterated over many times, once per epoch. An index gives a batch in the
        order of the current epoch.

    Examples
    --------
    >>> batches = dialogue_batches([[[1], [2], [3], [4]]], batch_size=2, eos=0, most_turns=3)
    >>> batches[0].words[0].T.tolist()  # the first word of each turn of both segments
    [[1, 2, 3], [3, 4, 0]]
    """
    return DialogueBatches(
        dialogues, batch_size=batch_size, eos=eos, rng=rng, most_turns=most_turns
    )


class DialogueBatches(ShuffledBatches[DialogueBatch]):
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
        check_token_id("eos", eos)
        if most_turns is not None:
            check_whole("most_turns", most_turns, least=2)  # an utterance and its reply
        if not dialogues:
            raise ValueError("there is no dialogue, but there must be at least one")
        self.eos = eos
        self._segments: list[list[NDArray[np.int64]]] = []
        for k, dialogue in enumerate(dialogues):
            utterances = _checked(dialogue, f"dialogue {k}", eos)
            size = most_turns or len(utterances)
            starts = range(0, len(utterances) - 1, size - 1)
            self._segments += [utterances[start : start + size] for start in starts]
        super().__init__(len(self._segments), batch_size=batch_size, rng=rng)

    def _of(self, part: NDArray[Any]) -> DialogueBatch:
        return padded_dialogues([self._segments[k] for k in part], eos=self.eos)


def _checked(dialogue: Sequence[ArrayLike], name: str, eos: int) -> list[NDArray[np.int64]]:
    if len(dialogue) < 2:
        raise ValueError(
            f"{name} has {len(dialogue)} utterances, but must have two or more: a model learns to "
            "reply"
        )
    names = [f"utterance {k} of {name}" for k in range(len(dialogue))]
    utterances = [checked_ids(u, n, eos=eos) for u, n in zip(dialogue, names, strict=True)]
    for utterance, n in zip(utterances, names, strict=True):
        if not len(utterance):
            raise ValueError(f"{n} is empty, but must have at least one token")
    return utterances
