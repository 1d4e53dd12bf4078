"""Vocabularies: the tokens that a model knows, and their token ids."""

import difflib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symrnn._files import replacing
from symrnn.text.tokens import EOS, UNK

FORMAT = "symrnn vocabulary 1"


class UnknownTokenError(ValueError):
    """A token that is not in a vocabulary without ``<unk>``.

    Attributes
    ----------
    token : str
        The token.
    position : int
        Which of the tokens it is, counted from 0.
    """

    def __init__(self, token: str, position: int, message: str) -> None:
        super().__init__(message)
        self.token, self.position = token, position


class Vocabulary:
    """Tokens and their token ids, from 0.

    Parameters
    ----------
    tokens
        All tokens in the order of their ids, each once. ``<unk>`` and ``<eos>`` among them are
        special: the first stands for all unknown tokens, the second ends a sentence.
    counts
        How often each occurs. Default: not known, 0.

    Attributes
    ----------
    tokens : tuple of str
        All tokens, in the order of their ids.
    counts : array of shape (tokens,)
        How often each occurred, int64.
    unk, eos : int or None
        Token ids of ``<unk>`` and ``<eos>``, if there are such tokens.
    dtype : numpy.dtype
        The smallest unsigned integer type that holds all ids.

    Examples
    --------
    >>> vocabulary = Vocabulary.build("You say goodbye and I say hello .".split())
    >>> vocabulary.tokens
    ('<unk>', 'say', '.', 'I', 'You', 'and', 'goodbye', 'hello')
    >>> vocabulary.encode(["I", "say", "yes"])
    array([3, 1, 0])
    >>> vocabulary.decode([3, 1, 0])
    ['I', 'say', '<unk>']
    >>> len(vocabulary), "say" in vocabulary, vocabulary["say"], vocabulary.counts[1]
    (8, True, 1, np.int64(2))

    A vocabulary of characters takes strings:

    >>> Vocabulary.build("hello", specials=()).encode("hole")
    array([2, 3, 0, 1])
    """

    def __init__(self, tokens: Iterable[str], *, counts: ArrayLike | None = None) -> None:
        self.tokens = tuple(tokens)
        self._ids = _ids_of(self.tokens)
        given = np.zeros(len(self.tokens), np.int64) if counts is None else np.asarray(counts)
        if given.dtype.kind not in "iu":
            raise TypeError(f"the counts are {given.dtype}, but must be whole numbers")
        if given.shape != (len(self.tokens),) or given.min() < 0:
            raise ValueError(
                f"the counts have shape {given.shape} and {len(self.tokens)} tokens need one each, "
                "0 or more"
            )
        self.counts: NDArray[np.int64] = given.astype(np.int64)
        self.unk, self.eos = self._ids.get(UNK), self._ids.get(EOS)
        self.dtype = np.min_scalar_type(len(self.tokens) - 1)
        self._table = self._code_points()

    @classmethod
    def build(
        cls,
        tokens: Iterable[str] | Mapping[str, int],
        *,
        max_size: int | None = None,
        min_count: int = 1,
        specials: Sequence[str] = (UNK,),
    ) -> "Vocabulary":
        """Build the vocabulary of a text: special tokens first, then the most frequent.

        Tokens that occur equally often are in alphabetical order. Those left out count as
        ``<unk>``.

        Parameters
        ----------
        tokens
            All tokens of the text, or how often each occurs, as `count_tokens` returns it.
        max_size
            The largest size, special tokens included. Default: no limit.
        min_count
            How often a token must occur to be kept.
        specials
            Tokens that are there in any case, first: ``("<unk>",)``, ``("<unk>", "<eos>")`` or, if
            no other token will ever be encoded, ``()``. Without ``<unk>`` no token may be left out.

        Examples
        --------
        >>> Vocabulary.build("a rose is a rose is a rose".split(), max_size=3).tokens
        ('<unk>', 'a', 'rose')
        """
        if isinstance(specials, str):
            raise TypeError(f"specials is {specials!r}, but must be a tuple: ({specials!r},)")
        least = len(specials) + 1
        if min_count < 1 or (max_size is not None and max_size < least):
            raise ValueError(
                f"min_count is {min_count} and max_size {max_size}, but min_count must be at least "
                f"1, and max_size at least {least}: {len(specials)} special tokens and one other"
            )
        counts = Counter(tokens)
        total = counts.total()
        if not total:
            raise ValueError("there are no tokens to build a vocabulary from: is the text empty?")
        first = {token: counts.pop(token, 0) for token in specials}
        frequent = [(token, n) for token, n in counts.items() if n >= min_count]
        frequent.sort(key=lambda pair: (-pair[1], pair[0]))
        kept = first | dict(frequent[: None if max_size is None else max_size - len(first)])
        if left_out := total - sum(kept.values()):
            if UNK not in kept:
                raise ValueError(
                    f"{left_out} of {total} tokens are left out by max_size={max_size} and "
                    f"min_count={min_count}, and nothing stands for them: give specials=({UNK!r},)"
                )
            kept[UNK] += left_out
        return cls(kept, counts=list(kept.values()))

    def encode(self, tokens: Iterable[str], *, first: int = 0) -> NDArray[np.int64]:
        """Return token ids.

        Parameters
        ----------
        tokens
            Any tokens; those not in the vocabulary become ``<unk>``. A string is encoded character
            by character, which is fast; a vocabulary of words takes a list of words.
        first
            Position of the first token, for the message of the error.

        Returns
        -------
        array of shape (tokens,)
            Token ids, int64.

        Raises
        ------
        UnknownTokenError
            If a token is unknown and there is no ``<unk>``. It names the token, its position, and
            the tokens of the vocabulary with a similar spelling.
        """
        ids: NDArray[np.int64]
        if isinstance(tokens, str):
            if self._table is None:
                raise TypeError(
                    "a string was given to a vocabulary of words: tokenize it first, "
                    "vocabulary.encode(words.tokenize(text)) with words = Words()"
                )
            codes = np.frombuffer(tokens.encode("utf-32-le", "surrogatepass"), "<u4")
            ids = self._table[np.minimum(codes, len(self._table) - 1)]
        else:
            tokens = list(tokens)
            unknown = -1 if self.unk is None else self.unk
            found = map(self._ids.get, tokens, repeat(unknown))
            ids = np.fromiter(found, np.int64, len(tokens))
            for k in np.flatnonzero(ids == unknown).tolist():
                if not isinstance(tokens[k], str):
                    raise TypeError(f"token {first + k} is {tokens[k]!r}, but must be a string")
        if self.unk is None and ids.size and ids.min() < 0:
            k = int(ids.argmin())
            raise self._unknown(tokens[k], first + k)
        return ids

    def decode(self, ids: ArrayLike) -> list[str]:
        """Return the tokens of token ids, an array of whole numbers of shape ``(tokens,)``.

        Raises
        ------
        ValueError
            If a token id is not in this vocabulary.
        """
        array = np.asarray(ids)
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"the token ids are {array.dtype}, but must be whole numbers")
        if array.ndim != 1:
            raise ValueError(
                f"the token ids have shape {array.shape}, but must have one axis: a column of "
                "(time, batch) is ids[:, 0]"
            )
        if array.size and not 0 <= array.min() <= array.max() < len(self):
            raise ValueError(
                f"the token ids are from {array.min()} to {array.max()}, but this vocabulary has 0 "
                f"to {len(self) - 1}: does it belong to another model?"
            )
        return [self.tokens[i] for i in array.tolist()]

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __getitem__(self, token: str) -> int:
        """Return the token id of one token, as `encode` does."""
        return int(self.encode([token])[0])

    def __eq__(self, other: object) -> bool:
        """Whether both give the same tokens the same ids."""
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.tokens[:5])) + (", ..." if len(self) > 5 else "")
        return f"<Vocabulary of {len(self)} tokens: {shown}>"

    def to_json(self) -> str:
        """Return tokens and counts as JSON, for `from_json`."""
        return json.dumps(
            {"format": FORMAT, "tokens": self.tokens, "counts": self.counts.tolist()}, indent=0
        )

    @classmethod
    def from_json(cls, text: str, *, source: str = "the text") -> "Vocabulary":
        """Make a vocabulary from what `to_json` returned.

        Raises
        ------
        ValueError
            If it is damaged or something else; the message begins with `source`.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{source} is not JSON, or cut off: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{source} is not of the format {FORMAT!r}")
        tokens, counts = content.get("tokens"), content.get("counts")
        if not isinstance(tokens, list) or not isinstance(counts, list):
            raise ValueError(f'{source} must have a list of "tokens" and one of "counts"')
        try:
            return cls(tokens, counts=np.array(counts))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{source} does not hold a vocabulary: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary to a JSON file, atomically."""
        with replacing(Path(path)) as stream:
            stream.write(self.to_json().encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read a vocabulary that `save` has written.

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If it is damaged or something else.
        """
        try:
            text = Path(path).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        return cls.from_json(text, source=str(path))

    def _code_points(self) -> NDArray[np.int64] | None:
        """Return the id of each code point, and last that of all others; None for words."""
        codes = {ord(t): i for t, i in self._ids.items() if len(t) == 1}
        if not codes or len(codes) < len(self._ids.keys() - {UNK, EOS}):
            return None
        table = np.full(max(codes) + 2, -1 if self.unk is None else self.unk)
        table[list(codes)] = list(codes.values())
        return table

    def _unknown(self, token: str, position: int) -> UnknownTokenError:
        if len(token) == 1:
            code = f"U+{ord(token):04X} {unicodedata.name(token, '')}".strip()
            said = f"token {position} is the character {token!r} ({code})"
        else:
            said = f"token {position} is {token!r}"
        like = similar_spelling(token, self.tokens) if len(token) > 1 else ""
        error = UnknownTokenError(
            token,
            position,
            f"{said}, which is not among the {len(self)} of the vocabulary, and there is no "
            f"{UNK} to stand for it.{like}",
        )
        error.add_note(
            f"A vocabulary with {UNK} takes any token: build it with specials=({UNK!r},), and one "
            "of pairs or dialogues with min_count=2 (words that occur once are then unknown too)."
        )
        return error


def similar_spelling(token: str, tokens: Sequence[str]) -> str:
    """Return a sentence that names the tokens with the most similar spelling, or nothing."""
    near = difflib.get_close_matches(token, tokens)
    return f" Similar spelling: {', '.join(map(repr, near))}." if near else ""


def _ids_of(tokens: Sequence[Any]) -> dict[str, int]:
    if not tokens:
        raise ValueError("a vocabulary needs at least one token")
    ids: dict[str, int] = {}
    for i, token in enumerate(tokens):
        if not isinstance(token, str):
            raise TypeError(f"token {i} is {token!r}, but must be a string")
        if not token:
            raise ValueError(f"token {i} is an empty string")
        if token in ids:
            raise ValueError(f"token {i} is {token!r}, as is token {ids[token]}: give each once")
        ids[token] = i
    return ids
