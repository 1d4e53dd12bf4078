"""Text from a language model: greedy, sampled or by beam search, and the next words."""

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


class TextGenerator:
    r"""Text from a language model, one compiled step at a time.

    A text begins as after the end of a sentence: before the prompt the model sees ``<eos>``, or a
    line end if the vocabulary has no ``<eos>``. So with an empty prompt it begins a sentence. A
    vocabulary that has neither needs a prompt. What is returned is the continuation of the prompt;
    it begins with a space where one belongs there, so print ``prompt + text``.

    Parameters
    ----------
    model
        A `symrnn.LanguageModel` or a `symrnn.TransformerLM`; its weights may change later, as in
        training. (A `TransformerLM` generates well only up to the length of the windows that it was
        trained on.)
    vocabulary, tokenizer
        Those that it was trained with.
    mode
        As for `symrnn.function`.
    unk
        True lets the model generate ``<unk>`` too.

    Attributes
    ----------
    start : int or None
        Id of the token that the model sees before the prompt.
    next_token : function
        The compiled step that the model's ``compile_next`` returned, without checks of its
        arguments.

    Examples
    --------
    >>> from symrnn.text import Characters
    >>> from symrnn.training.optimizers import adam
    >>> vocabulary = Vocabulary.build("hello\n")
    >>> model = LanguageModel(len(vocabulary), 4, 16, rng=np.random.default_rng(1))
    >>> carried = model.carry(batch_size=1)
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.05), carried)
    >>> ids = vocabulary.encode("hello\n" * 3)[:, None]  # (time, batch)
    >>> losses = [step(ids[:-1], ids[1:]) for _ in range(40)]
    >>> generator = TextGenerator(model, vocabulary, Characters())
    >>> generator.generate("he", 10)
    'llo\nhello\n'
    >>> [(text, p > 0.9) for text, p in generator.next_words("he", 1)]
    [('l', True)]
    """

    def __init__(
        self,
        model: LanguageModel | TransformerLM,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        *,
        mode: Any = None,
        unk: bool = False,
    ) -> None:
        if not isinstance(model, LanguageModel | TransformerLM):
            raise TypeError(
                f"the model is a {type(model).__name__}, but must be a LanguageModel or a "
                "TransformerLM: for a Seq2Seq or a Transformer there is symrnn.Translator"
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
        self.next_token = model.compile_next(mode=mode)
        self.next_token.trust_input = True  # without checks a call is a fifth faster

    def generate(
        self,
        prompt: str,
        length: int,
        *,
        rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | None = None,
    ) -> str:
        r"""Continue a text: greedy, or sampled where there is a generator of random numbers.

        Parameters
        ----------
        prompt
            The beginning of the text; may be empty, see `TextGenerator`.
        length
            How many tokens to generate, at least 1.
        rng
            Source of random numbers: the same seed, the same text. Default: greedy, at each step
            the most probable token, which often ends in repetition loops.
        temperature
            Divides the log probabilities before sampling: below 1 the probable becomes more
            probable, above 1 less. Needs `rng`, as the next two do.
        top_k
            Sample from the k most probable tokens only.
        top_p
            Sample from the most probable tokens only, the fewest whose probabilities sum to
            `top_p` (nucleus sampling). See `symrnn.models.sampling.sampling_probabilities`.
        stop
            A token that ends the text early, such as ``"<eos>"`` or ``"\n"``. It is not part of
            the text.

        Returns
        -------
        str
            The continuation of the prompt.

        Raises
        ------
        UnknownTokenError
            If a token of the prompt is unknown, and the vocabulary has no ``<unk>``.
        """
        options = {"rng": rng, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        return "".join(self.stream(prompt, length, **options, stop=stop))  # type: ignore[arg-type]

    def stream(
        self,
        prompt: str,
        length: int,
        *,
        rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | None = None,
    ) -> Iterator[str]:
        """Yield what `generate` returns token by token, as it is generated.

        Parameters
        ----------
        prompt, length, rng, temperature, top_k, top_p, stop
            The beginning of the text, the number of tokens, how to sample, and the token that ends
            the text early: the same as `generate` takes.
        """
        check_whole("length", length)
        check_drawing(rng, len(self.vocabulary), temperature, top_k, top_p)
        end = self._end(stop)
        tokens, log_p, state = self._read(prompt, length)

        def generated() -> Iterator[int]:
            now, before = log_p, state
            for left in reversed(range(length)):
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

        return self._text(tokens, generated())

    def next_words(self, prompt: str, k: int) -> list[tuple[str, float]]:
        """Return the k most probable next tokens after a text, and their probabilities.

        The probabilities are those of the model: where ``<unk>`` is not offered, its probability is
        missing in the sum. ``<eos>`` is offered: there the sentence may end.

        Parameters
        ----------
        prompt
            The text so far.
        k
            How many, from 1 to the number of tokens offered.

        Returns
        -------
        list of (str, float)
            Tokens and probabilities, the most probable first.
        """
        check_whole("k", k, len(self.vocabulary) - len(self._banned))
        _, log_p, _ = self._read(prompt, 1)
        best = largest(log_p[0], k)
        return [(self.vocabulary.tokens[i], float(np.exp(log_p[0, i]))) for i in best]

    def beam_search(
        self, prompt: str, length: int, *, width: int, stop: str | None = None
    ) -> list[tuple[str, float]]:
        """Search for the most probable continuation of a text.

        At each step each of the texts that are kept, at most `width`, is extended by every token,
        and the most probable ones are kept. With a width of 1 this is greedy; if `width` is at
        least the number of all texts of ``length - 1`` tokens, the text found is the most probable
        one of all.

        Parameters
        ----------
        prompt
            The beginning of the text; may be empty, see `TextGenerator`.
        length
            How many tokens to generate, at least 1.
        width
            The beam width: how many texts are kept, at least 1.
        stop
            A token that ends a text, such as ``"<eos>"``. It is not part of the text, but its
            probability counts. Texts that end are kept among the others, so short texts, which have
            fewer factors, are at an advantage.

        Returns
        -------
        list of (str, float)
            At most `width` texts and their log probabilities given the prompt, the best first.
        """
        check_whole("length", length)
        check_whole("width", width)
        end = self._end(stop)
        tokens, log_p, state = self._read(prompt, length)
        beam: list[tuple[list[int], float]] = [([], 0.0)]  # log_p and state have a row for each
        ended: list[tuple[list[int], float]] = []
        for k in range(length):
            scores = (log_p + [[score] for _, score in beam]).ravel()
            pool = np.append(scores, [score for _, score in ended])
            kept, longer, rows = [], [], []
            for i in largest(pool, width).tolist():
                if i >= len(scores):
                    kept.append(ended[i - len(scores)])
                    continue
                row, token = divmod(i, log_p.shape[1])
                path = beam[row][0]
                if token == end:
                    kept.append((path, float(pool[i])))
                else:
                    longer.append(([*path, token], float(pool[i])))
                    rows.append(row)
            beam, ended = longer, kept
            if not beam or k == length - 1:
                break
            last = np.array([path[-1] for path, _ in beam])
            log_p, state = self._next(last, [s[rows] for s in state])
        found = sorted(beam + ended, key=lambda pair: -pair[1])
        return [("".join(self._text(tokens, path)), score) for path, score in found]

    def _read(
        self, prompt: str, length: int
    ) -> tuple[Sequence[str], NDArray[Any], list[NDArray[Any]]]:
        """Return the prompt's tokens, and log_p and state after them; `length` are to follow."""
        tokens = self.tokenizer.tokenize(prompt, unfinished=True)
        ids = self.vocabulary.encode(tokens).tolist()
        if self.start is not None:
            ids.insert(0, self.start)
        if not ids:
            raise ValueError(
                f"the prompt {prompt!r} has no token, and the vocabulary neither {EOS} nor a line "
                "end to begin after: give a prompt"
            )
        most = self.model.n_positions if isinstance(self.model, TransformerLM) else None
        if most is not None and len(ids) + length - 1 > most:  # the last token is not read again
            raise ValueError(
                f"the prompt has {len(ids)} tokens (with the start), and {length} more are too "
                f"many for the model, which has learned {most} positions: give a shorter prompt or "
                f"a smaller length, together at most {most + 1}"
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
        """Make one step of the model; return log_p of the tokens it may generate, and its state."""
        log_p, *state = self.next_token(ids, *state)
        if self._banned:
            log_p[:, self._banned] = -np.inf
        return log_p, state

    def _text(self, tokens: Sequence[str], ids: Iterable[int]) -> Iterator[str]:
        """Yield the text of `ids`, which follow `tokens`."""
        new = (self.vocabulary.tokens[i] for i in ids)
        return islice(self.tokenizer.detokenize_pieces(chain(tokens, new)), len(tokens), None)

    def _end(self, stop: str | None) -> int | None:
        """Return the id of the token that ends a text."""
        if stop is None:
            return None
        if stop not in self.vocabulary:
            raise ValueError(
                f"stop is {stop!r}, but must be a token of the vocabulary, for example {EOS!r} or "
                f"{LINE_END!r}"
            )
        return self.vocabulary[stop]
