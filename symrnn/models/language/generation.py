"""Text from a language model: sampled, greedy or by beam search, and the words that come next."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from symrnn._validate import check_whole
from symrnn.models.language.model import LanguageModel
from symrnn.models.language.transformer import TransformerLM
from symrnn.models.sampling import check_drawing, draw, largest, probabilities
from symrnn.text import EOS, Tokenizer, Vocabulary

LINE_END = "\n"


class Writer:
    r"""Lets a language model write, one compiled step at a time.

    A text begins as after the end of a sentence: before the prompt the model sees ``<eos>``, or a
    line end if the vocabulary has no ``<eos>``. So an empty prompt lets it begin a sentence. A
    vocabulary that has neither needs a prompt. What is returned is what follows the prompt; it
    begins with a space where one belongs there, so print ``prompt + text``.

    Parameters
    ----------
    model
        A `LanguageModel` or a `TransformerLM`; its weights may change later, as in training. (A
        `TransformerLM` should write no further than its windows of training were long.)
    vocabulary, tokenizer
        Those that it was trained with.
    mode
        As for `pytensor.function`. Default: that of the model's `compile_next`.
    unk
        True lets the model write ``<unk>`` too.

    Attributes
    ----------
    start : int or None
        Number of the token that the model sees before the prompt.
    next_token : function
        The compiled step that `LanguageModel.compile_next` returned, made not to check what it is
        called with.

    Raises
    ------
    ValueError
        If the vocabulary does not have as many tokens as the model.
    TypeError
        If the model is another one, such as one for translation.

    Examples
    --------
    >>> from symrnn.compiling.modes import QUICK
    >>> from symrnn.text import Characters
    >>> from symrnn.training.optimizers import adam
    >>> vocabulary = Vocabulary.build("hello\n")
    >>> model = LanguageModel(len(vocabulary), 4, 16, np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.05),
    ...                               model.carry(batch_size=1), mode=QUICK)
    >>> ids = vocabulary.encode("hello\n" * 3)[:, None]  # (time, batch)
    >>> losses = [step(ids[:-1], ids[1:]) for _ in range(40)]
    >>> writer = Writer(model, vocabulary, Characters(), mode=QUICK)
    >>> writer.generate("he", n=10)
    'llo\nhello\n'
    >>> [(text, p > 0.9) for text, p in writer.next_words("he", k=1)]
    [('l', True)]
    """

    def __init__(
        self,
        model: LanguageModel | TransformerLM,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        mode: Any = None,
        unk: bool = False,
    ) -> None:
        if not isinstance(model, LanguageModel | TransformerLM):
            raise TypeError(
                f"the model is a {type(model).__name__}, but must be a LanguageModel or a "
                "TransformerLM: for a Seq2Seq or a Transformer there is "
                "symrnn.models.seq2seq.translation.Translator"
            )
        if len(vocabulary) != model.n_tokens:
            raise ValueError(
                f"the vocabulary has {len(vocabulary)} tokens, but the model {model.n_tokens}: "
                "take the vocabulary that the model was trained with"
            )
        self.model, self.vocabulary, self.tokenizer = model, vocabulary, tokenizer
        self.start = vocabulary.eos
        if self.start is None and LINE_END in vocabulary:
            self.start = vocabulary[LINE_END]
        self._banned = [] if unk or vocabulary.unk is None else [vocabulary.unk]
        self.next_token = model.compile_next(**({} if mode is None else {"mode": mode}))
        self.next_token.trust_input = True  # without checks a call is a fifth faster

    def generate(
        self,
        prompt: str,
        n: int,
        rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | None = None,
    ) -> str:
        r"""Go on with a text.

        Parameters
        ----------
        prompt
            The beginning of the text; may be empty, see `Writer`.
        n
            How many tokens to write, at least 1.
        rng
            Source of random numbers: the same seed, the same text. Default: greedy, at each step
            the most probable token.
        temperature, top_k, top_p
            How to draw, see `sampling_probabilities`. They need `rng`.
        stop
            A token that ends the text before, such as ``"<eos>"`` or ``"\n"``. It is not part of
            the text.

        Returns
        -------
        str
            What follows the prompt.

        Raises
        ------
        TypeError, ValueError
            If something is not as said, the prompt is empty where it must not be, or prompt and n
            together need more positions than a `TransformerLM` has learnt.
        UnknownTokenError
            If a token of the prompt is unknown, and the vocabulary has no ``<unk>``.
        """
        return "".join(self.stream(prompt, n, rng, temperature, top_k, top_p, stop))

    def stream(
        self,
        prompt: str,
        n: int,
        rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | None = None,
    ) -> Iterator[str]:
        """Yield what `generate` returns piece by piece, a token at a time, as it is written."""
        check_whole("n", n)
        check_drawing(rng, len(self.vocabulary), temperature, top_k, top_p)
        end = self._end(stop)
        tokens, log_p, state = self._read(prompt, n)

        def written() -> Iterator[int]:
            now, before = log_p, state
            for left in reversed(range(n)):
                if rng is None:
                    token = int(now[0].argmax())
                else:
                    q = probabilities(now[0].astype(np.float64), temperature, top_k, top_p)
                    token = draw(q, rng)
                if token == end:
                    return
                yield token
                if left:
                    now, before = self._next(np.array([token]), before)

        return self._text(tokens, written())

    def next_words(self, prompt: str, k: int) -> list[tuple[str, float]]:
        """Return the k tokens that are most probable after a text, and their probabilities.

        The probabilities are those of the model: where ``<unk>`` is not offered, its share is
        missing in the sum. ``<eos>`` is offered: there the sentence may end.

        Raises
        ------
        TypeError, ValueError, UnknownTokenError
            As `generate`; also if k is not from 1 to the number of tokens offered.
        """
        check_whole("k", k, len(self.vocabulary) - len(self._banned))
        _, log_p, _ = self._read(prompt, 1)
        best = largest(log_p[0], k)
        return [(self.vocabulary.tokens[i], float(np.exp(log_p[0, i]))) for i in best]

    def beam_search(
        self, prompt: str, n: int, width: int, stop: str | None = None
    ) -> list[tuple[str, float]]:
        """Look for the most probable text of n tokens.

        At each step all texts that are kept, at most `width`, are continued in all ways, and the
        most probable are kept. With a width of 1 this is greedy; if `width` is at least the number
        of all texts of ``n - 1`` tokens, the text found is the most probable one of all.

        Parameters
        ----------
        prompt, n
            As for `generate`.
        width
            How many texts are kept, at least 1.
        stop
            A token that ends a text, such as ``"<eos>"``. It is not part of the text, but its
            probability counts. Texts that end are kept among the others, so short texts, which have
            fewer factors, are at an advantage.

        Returns
        -------
        list of (str, float)
            At most `width` texts and their log probabilities given the prompt, the best first.

        Raises
        ------
        TypeError, ValueError, UnknownTokenError
            As `generate`.
        """
        check_whole("n", n)
        check_whole("width", width)
        end = self._end(stop)
        tokens, log_p, state = self._read(prompt, n)
        going: list[tuple[list[int], float]] = [([], 0.0)]  # a row of log_p and state for each
        ended: list[tuple[list[int], float]] = []
        for k in range(n):
            scores = (log_p + [[score] for _, score in going]).ravel()
            pool = np.append(scores, [score for _, score in ended])
            kept, going_on, rows = [], [], []
            for i in largest(pool, width).tolist():
                if i >= len(scores):
                    kept.append(ended[i - len(scores)])
                    continue
                row, token = divmod(i, log_p.shape[1])
                path = going[row][0]
                if token == end:
                    kept.append((path, float(pool[i])))
                else:
                    going_on.append(([*path, token], float(pool[i])))
                    rows.append(row)
            going, ended = going_on, kept
            if not going or k == n - 1:
                break
            last = np.array([path[-1] for path, _ in going])
            log_p, state = self._next(last, [s[rows] for s in state])
        found = sorted(going + ended, key=lambda pair: -pair[1])
        return [("".join(self._text(tokens, path)), score) for path, score in found]

    def _read(self, prompt: str, n: int) -> tuple[Sequence[str], NDArray[Any], list[NDArray[Any]]]:
        """Return the prompt's tokens, and log_p and state after them; n are to be written."""
        tokens = self.tokenizer.tokenize(prompt, unfinished=True)
        ids = self.vocabulary.encode(tokens).tolist()
        if self.start is not None:
            ids.insert(0, self.start)
        if not ids:
            raise ValueError(
                f"the prompt {prompt!r} has no token, and the vocabulary neither {EOS} nor a line "
                "end to begin after: give a prompt"
            )
        most = self.model.positions if isinstance(self.model, TransformerLM) else None
        if most is not None and len(ids) + n - 1 > most:  # the last token is not read again
            raise ValueError(
                f"the prompt has {len(ids)} tokens (with the start), and with {n} more there are "
                f"too many for the model, which has learnt {most} positions: give a shorter "
                f"prompt or a smaller n, together at most {most + 1}"
            )
        state = self.model.zeros(batch_size=1)
        for i in ids:
            log_p, state = self._next(np.array([i]), state)
        if np.isnan(log_p).any():
            raise ValueError("the model's probabilities are NaN: its training has gone wrong")
        return tokens, log_p, state

    def _next(
        self, ids: NDArray[np.int64], state: list[NDArray[Any]]
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Let the model take a step; return log_p of what it may write next, and its state."""
        log_p, *state = self.next_token(ids, *state)
        if self._banned:
            log_p[:, self._banned] = -np.inf
        return log_p, state

    def _text(self, tokens: Sequence[str], ids: Iterable[int]) -> Iterator[str]:
        """Yield the text of `ids`, which follow `tokens`."""
        written = (self.vocabulary.tokens[i] for i in ids)
        return islice(self.tokenizer.detokenize_pieces(chain(tokens, written)), len(tokens), None)

    def _end(self, stop: str | None) -> int | None:
        """Return the number of the token that ends a text."""
        if stop is None:
            return None
        if stop not in self.vocabulary:
            raise ValueError(
                f"stop is {stop!r}, but must be a token of the vocabulary, for example {EOS!r} or "
                f"{LINE_END!r}"
            )
        return self.vocabulary[stop]
