"""Tokenizers: how a text is cut into words or characters, and joined again."""

import io
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from symrnn._validate import check_choice

UNK, EOS = "<unk>", "<eos>"
"""The special tokens: for a token that is not in the vocabulary; for the end of a sentence."""

FORMS = ("NFC", "NFKC", None)
PUNCTUATION = ("separate", "drop", "keep")
LINE_ENDS = ("drop", "keep", "eos")


def normalize(text: str, *, form: str | None = "NFC", lower: bool = False) -> str:
    r"""Write equal texts with equal characters.

    Line ends become ``\n``, also ``\r\n`` and ``\r``. An accented letter becomes one character
    where Unicode has one, and combining marks get a fixed order (form NFC). NFKC also replaces
    compatibility characters: the ligature fi by f and i, a wide space by a space.

    Parameters
    ----------
    text
        Any string.
    form
        Unicode normalisation form (Unicode Standard Annex 15), ``"NFC"`` or ``"NFKC"``; None
        leaves everything but line ends alone.
    lower
        Convert to lowercase.

    Returns
    -------
    str
        The normalised text.

    Examples
    --------
    >>> normalize("Cafe\u0301\r\n", lower=True)
    'café\n'
    >>> normalize("\ufb01ne"), normalize("\ufb01ne", form="NFKC")
    ('ﬁne', 'fine')
    """
    check_choice("form", form, FORMS)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _formed(text, form)
    return _formed(text.lower(), form) if lower else text  # lowercase letters may compose anew


def _formed(text: str, form: Any) -> str:
    return text if form is None or text.isascii() else unicodedata.normalize(form, text)


@dataclass(frozen=True, kw_only=True)
class Tokenizer(ABC):
    """Base of `Characters` and `Words`."""

    form: str | None = "NFC"
    lower: bool = False

    def __post_init__(self) -> None:
        check_choice("form", self.form, FORMS)

    def tokenize(self, text: str, *, unfinished: bool = False) -> Sequence[str]:
        """Return the tokens of a text.

        Parameters
        ----------
        text
            Any string.
        unfinished
            The text is to be continued, as a prompt is: `Words` with ``line_ends="eos"`` do not
            end its last line.

        Returns
        -------
        Sequence of str
            `Words` return a list, `Characters` a string, which is a sequence of its characters.
        """
        if not isinstance(text, str):
            raise TypeError(f"the text is a {type(text).__name__}, but must be a string")
        text = text if unfinished else self._ended(text)
        return self._tokens(normalize(text, form=self.form, lower=self.lower))

    def tokenize_pieces(self, pieces: Iterable[str]) -> Iterator[Sequence[str]]:
        r"""Yield the tokens of a text that is given in pieces, exactly those of the whole text.

        A piece may end within a word, between a letter and its accent, or within ``\r\n``. The text
        is cut anew where no token can depend on both sides: before white space, and with
        `Characters` also before a Chinese character. Pieces without such a place are joined, and
        held in memory, until one comes.
        """
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        waiting: list[str] = []
        for given in pieces:
            piece = newlines.decode(given)
            cut = next((i for i in range(len(piece) - 1, -1, -1) if self._is_cut(piece[i])), None)
            if cut is None:
                waiting.append(piece)
                continue
            yield self._tokens(
                normalize("".join([*waiting, piece[:cut]]), form=self.form, lower=self.lower)
            )
            waiting = [piece[cut:]]
        yield self.tokenize("".join([*waiting, newlines.decode("", final=True)]))

    def settings(self) -> dict[str, Any]:
        """Return all options, ready for JSON; `tokenizer_from` makes the same tokenizer of them."""
        return {"tokens": type(self).__name__.lower(), **asdict(self)}

    def detokenize(self, tokens: Iterable[str]) -> str:
        """Join tokens to a text."""
        return "".join(self.detokenize_pieces(tokens))

    @abstractmethod
    def detokenize_pieces(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield for each token what it adds to the text, token by token."""

    @abstractmethod
    def _tokens(self, text: str) -> Sequence[str]:
        """Cut a normalised text."""

    def _ended(self, text: str) -> str:
        return text

    def _is_cut(self, character: str) -> bool:
        """Whether a text may be cut before this character without changing any token.

        White space does not compose with what is before it, is not part of a word, and ends the
        run of letters on which a letter's lowercase form depends (the Greek final sigma).
        """
        return character.isspace()


@dataclass(frozen=True, kw_only=True)
class Characters(Tokenizer):
    r"""Characters as tokens: Unicode's code points.

    Parameters
    ----------
    form
        Unicode normalisation form, ``"NFC"``, ``"NFKC"`` or None; see `normalize`. In form NFC an
        accented letter is one token where Unicode has such a letter, else a letter and a mark.
    lower
        Convert to lowercase.

    Examples
    --------
    `tokenize` returns a string, which is a sequence of its characters:

    >>> Characters(lower=True).tokenize("Hi\r\nyou")
    'hi\nyou'
    >>> Characters().detokenize(["H", "i", "<eos>"])
    'Hi\n'
    """

    def _tokens(self, text: str) -> str:
        return text

    def _is_cut(self, character: str) -> bool:
        return character.isspace() or "\u3400" <= character <= "\u9fff"

    def detokenize_pieces(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield the characters; ``<eos>`` becomes a line end."""
        return ("\n" if token == EOS else token for token in tokens)


@dataclass(frozen=True, kw_only=True)
class Words(Tokenizer):
    r"""Words as tokens.

    A word is a run of letters, digits, underscores and the marks on them, in any script; an
    apostrophe within it belongs to it. Everything else but white space is punctuation.

    Parameters
    ----------
    form
        Unicode normalisation form, ``"NFC"``, ``"NFKC"`` or None; see `normalize`.
    lower
        Convert to lowercase.
    punctuation
        ``"separate"``: each mark is a token. ``"drop"``: marks are left out. ``"keep"``: marks stay
        on their words, so that words are what is between white space, as in texts that are
        tokenized already.
    line_ends
        ``"drop"``: a line end is white space. ``"keep"``: it is the token ``\n``. ``"eos"``: it is
        the token ``<eos>``, and a last line without an end gets one.

    Examples
    --------
    >>> text = "Don't say: \"goodbye\"!\nSay hello"
    >>> Words().tokenize(text)
    ["Don't", 'say', ':', '"', 'goodbye', '"', '!', 'Say', 'hello']
    >>> Words(lower=True, punctuation="drop", line_ends="eos").tokenize(text)
    ["don't", 'say', 'goodbye', '<eos>', 'say', 'hello', '<eos>']
    >>> Words(punctuation="keep", line_ends="keep").tokenize(text)
    ["Don't", 'say:', '"goodbye"!', '\n', 'Say', 'hello']
    >>> Words().detokenize(Words().tokenize(text))
    'Don\'t say: "goodbye"! Say hello'
    """

    punctuation: str = "separate"
    line_ends: str = "drop"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("punctuation", self.punctuation, PUNCTUATION)
        check_choice("line_ends", self.line_ends, LINE_ENDS)

    def _tokens(self, text: str) -> list[str]:
        pattern = _pattern(self.punctuation, self.line_ends != "drop", text.isascii())
        tokens = pattern.findall(text)
        if self.line_ends == "eos":
            tokens = [EOS if token == "\n" else token for token in tokens]
        return tokens

    def _ended(self, text: str) -> str:
        needs_end = self.line_ends == "eos" and text and text[-1] not in "\r\n"
        return text + "\n" if needs_end else text

    def detokenize_pieces(self, tokens: Iterable[str]) -> Iterator[str]:
        r"""Yield tokens with the spaces between them; ``\n`` and ``<eos>`` become line ends.

        The spaces that `tokenize` left out are guessed: none before a full stop or after an
        opening bracket, and straight quotes open and close in turn.
        """
        glued, quotes = True, set[str]()  # whether the next token follows without a space
        for token in tokens:
            if token in ("\n", EOS):
                yield "\n"
                glued, quotes = True, set()
                continue
            before, after = token in _CLOSING, token in _OPENING
            if token in _QUOTES:
                before, after = token in quotes, token not in quotes
                quotes ^= {token}
            if self.punctuation == "keep":
                before = after = False
            yield token if glued or before else " " + token
            glued = after


_CLOSING = frozenset(".,;:!?…%)]}”’»-/、。，！？；：）」")
_OPENING = frozenset("([{“‘«¿¡$£€#@-/（「")
_QUOTES = frozenset("\"'")


@cache
def _pattern(punctuation: str, line_ends: bool, is_ascii: bool) -> re.Pattern[str]:
    r"""Return what matches one token.

    Python's ``\w`` leaves out marks, such as the vowels of Hindi, and the invisible joiners
    within words of Persian: they are added. For a text of ASCII characters alone there is a
    pattern that finds the same faster.
    """
    marks = "" if is_ascii else _marks()
    letter = "[A-Za-z0-9_]" if is_ascii else r"\w"
    within = letter if is_ascii else rf"[\w{marks}]"
    word = rf"{letter}{within}*+(?:['’]{within}++)*+"  # *+ and ++ never give anything back
    token = {
        "separate": rf"{word}|\S" + (f"[{marks}]*+" if marks else ""),
        "drop": word,
        "keep": r"\S+",
    }[punctuation]
    return re.compile(token + (r"|\n" if line_ends else ""))


@cache
def _marks() -> str:
    """Return all combining marks and the joiners U+200C and U+200D as ranges of a pattern."""
    codes = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    marks = [c for c in codes if unicodedata.category(chr(c))[0] == "M" or c in (0x200C, 0x200D)]
    starts = [c for c, before in zip(marks, [0, *marks], strict=False) if c != before + 1]
    ends = [c for c, after in zip(marks, [*marks[1:], 0], strict=False) if c != after - 1]
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True))


def tokenizer_from(settings: Mapping[str, Any]) -> Tokenizer:
    """Make the tokenizer whose `settings` these are.

    Raises
    ------
    ValueError
        If they are not the settings of a tokenizer.

    Examples
    --------
    >>> tokenizer_from(Words(lower=True).settings()) == Words(lower=True)
    True
    """
    options = dict(settings)
    kinds: dict[Any, type[Tokenizer]] = {"characters": Characters, "words": Words}
    kind = options.pop("tokens", None)
    check_choice("tokens", kind, tuple(kinds))
    try:
        return kinds[kind](**options)
    except TypeError as error:
        raise ValueError(f"the settings {options} are not those of {kind}: {error}") from error
