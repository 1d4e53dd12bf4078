r"""Dialogues: from a file to batches for models that reply.

>>> import tempfile, pathlib
>>> from symrnn.text import dialogue_batches
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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symrnn.text.corpora import read_text
from symrnn.text.tokens import EOS, UNK, Tokenizer, Words
from symrnn.text.vocabulary import UnknownTokenError, Vocabulary

Utterances = list[str]


def read_dialogues(
    path: str | os.PathLike[str], *, separator: str | None = None, encoding: str = "utf-8"
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
    text = read_text(path, encoding=encoding).replace("\r\n", "\n").replace("\r", "\n")
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


def _listed(dialogue: Sequence[str], name: str) -> Sequence[str]:
    """Return a dialogue that is no string: its utterances would be its letters."""
    if isinstance(dialogue, str):
        raise TypeError(
            f"{name} is a string, but must be a list of utterances: [{dialogue[:20]!r}]"
        )
    return dialogue


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
        *,
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
        TypeError
            If a dialogue is a string, and no list of them.
        """
        tokenizer = Words() if tokenizer is None else tokenizer
        specials = (EOS, UNK) if min_count > 1 else (EOS,)
        tokens = (
            t
            for k, dialogue in enumerate(dialogues)
            for said in _listed(dialogue, f"dialogue {k}")
            for t in tokenizer.tokenize(said)
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
        self, dialogues: Iterable[Sequence[str]], *, longest: int | None = None
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
        if not _listed(dialogue, name):
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
                    f"most {longest} are allowed: leave it out, cut it, or allow more"
                )
            found.append(ids)
        return found
