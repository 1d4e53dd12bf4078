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

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symrnn.text.encoding import check_has_eos, decode_text, encode_text
from symrnn.text.lines import quoted, read_lines
from symrnn.text.tokens import EOS, UNK, Tokenizer, Words
from symrnn.text.vocabulary import Vocabulary

Utterances = list[str]


def read_dialogues(
    path: str | os.PathLike[str], *, separator: str | None = None, encoding: str = "utf-8"
) -> list[Utterances]:
    r"""Read dialogues from a text file: one utterance per line, a blank line between dialogues.

    With a `separator` one dialogue per line: it stands between the utterances (and may follow the
    last). Spaces around utterances are left out.

    Parameters
    ----------
    path
        The file.
    separator
        What stands between the utterances of a line, for example ``"\t"`` or ``"__eou__"``.
        Default: each line is one utterance.
    encoding
        Character encoding of the file, for example ``"latin-1"`` or ``"utf-16"``.

    Returns
    -------
    list of lists of str
        The utterances of each dialogue, in order.

    Raises
    ------
    OSError
        If there is no such file, or it is a folder.
    ValueError
        If the file is empty, binary or in another encoding, an utterance is empty, or a dialogue
        has only one, without a reply; the message names file and line.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "talk.txt"
    >>> _ = file.write_text("Hi !\tHello .\tHow are you ?\nBye .\tSee you .\n")
    >>> read_dialogues(file, separator="\t")
    [['Hi !', 'Hello .', 'How are you ?'], ['Bye .', 'See you .']]
    """
    lines = read_lines(path, encoding=encoding, separator=separator, wanted="dialogues")
    found: list[tuple[int, Utterances]] = []  # the line where each begins
    continues = False
    for k, line in lines:
        if not line.strip():
            continues = False
        elif separator is not None:
            found.append((k, _parts(line, separator, f"{path}, line {k}")))
        elif continues:
            found[-1][1].append(line.strip())
        else:
            found.append((k, [line.strip()]))
            continues = True
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
                f"{quoted(utterances[0])}, and no reply: {shape}"
            )
    return [utterances for _, utterances in found]


def _parts(line: str, separator: str, place: str) -> Utterances:
    parts = [part.strip() for part in line.strip(" ").split(separator)]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    if not all(parts):
        raise ValueError(
            f"{place}: utterance {parts.index('') + 1} of {quoted(line)} is empty: nothing stands "
            f"before or between {separator!r}"
        )
    return parts


def _listed(dialogue: Sequence[str], name: str) -> Sequence[str]:
    """Return a dialogue that is not a string, whose utterances would be its letters."""
    if isinstance(dialogue, str):
        raise TypeError(
            f"{name} is a string, but must be a list of utterances: [{dialogue[:20]!r}]"
        )
    return dialogue


@dataclass(frozen=True)
class DialogueVocabulary:
    """The vocabulary of dialogues, and the tokenizer of utterances.

    Parameters
    ----------
    vocabulary
        It has ``<eos>``, with which every utterance ends.
    tokenizer
        What cuts utterances into tokens. Default: `Words`.

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
        check_has_eos(self.vocabulary, "the vocabulary", "utterance")

    @classmethod
    def build(
        cls,
        dialogues: Iterable[Sequence[str]],
        *,
        tokenizer: Tokenizer | None = None,
        min_count: int = 1,
    ) -> "DialogueVocabulary":
        """Build the vocabulary from dialogues.

        Parameters
        ----------
        dialogues
            The utterances of each.
        tokenizer
            What cuts utterances into tokens. Default: `Words`.
        min_count
            How often a token must occur to be kept. Above 1, the vocabulary has ``<unk>``, which
            stands for the others.
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
        """Token id of ``<eos>``."""
        assert self.vocabulary.eos is not None
        return self.vocabulary.eos

    def encode(
        self, dialogues: Iterable[Sequence[str]], *, longest: int | None = None
    ) -> list[list[NDArray[np.int64]]]:
        """Return the token ids of each utterance of each dialogue, without ``<eos>``.

        Parameters
        ----------
        dialogues
            The utterances of each. None may be empty.
        longest
            How many tokens an utterance may have. Default: no limit.

        Raises
        ------
        UnknownTokenError
            If a token is unknown and there is no ``<unk>``; a note says in which utterance.
        """
        return [self._dialogue(d, f"dialogue {k}", longest) for k, d in enumerate(dialogues)]

    def text(self, ids: ArrayLike) -> str:
        """Return the text of an utterance's token ids, shape ``(time,)``, up to ``<eos>``."""
        return decode_text(np.asarray(ids, np.int64), self.vocabulary, self.tokenizer)

    def _dialogue(
        self, dialogue: Sequence[str], name: str, longest: int | None
    ) -> list[NDArray[np.int64]]:
        if not _listed(dialogue, name):
            raise ValueError(f"{name} is empty: it must have an utterance at least")
        found = []
        for k, utterance in enumerate(dialogue):
            where = f"utterance {k} of {name}, {utterance!r}"
            ids = encode_text(utterance, self.vocabulary, self.tokenizer, where)
            if not ids.size:
                raise ValueError(f"{where}, has no token in it")
            if longest is not None and len(ids) > longest:
                raise ValueError(
                    f"utterance {k} of {name} has {len(ids)} tokens, {quoted(utterance)}, but at "
                    f"most {longest} are allowed: leave it out, cut it, or allow more"
                )
            found.append(ids)
        return found
