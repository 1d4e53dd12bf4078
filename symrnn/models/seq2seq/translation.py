"""Answers of a sequence-to-sequence model: greedy, sampled, or by beam search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pytensor.compile.mode import JAX, get_mode

from symrnn._validate import check_positive, check_whole
from symrnn.compiling.modes import as_mode
from symrnn.models.sampling import check_drawing, draw, largest, probabilities
from symrnn.models.seq2seq.encoder_decoder import EncoderDecoder
from symrnn.text import Pair, PairVocabularies, padded

BATCH_SIZE = 256
"""So many texts at most are answered at once."""


@dataclass(frozen=True)
class Answer:
    """A model's answer to a text.

    Attributes
    ----------
    text
        The answer.
    source, tokens
        The tokens that were read, and those of the answer; the last one is ``<eos>``, unless the
        answer was cut off as too long.
    log_p
        Log probability of these tokens.
    score
        What beam search has ranked by; otherwise the same as `log_p`.
    weights
        Attention weights of the source positions for each token of the answer, shape
        ``(tokens, source)``, as `symrnn.plots.attention_map` takes them; None without attention.
    """

    text: str
    source: list[str]
    tokens: list[str]
    log_p: float
    score: float
    weights: NDArray[Any] | None


@dataclass(frozen=True)
class Hypothesis:
    """The beginning of an answer."""

    ids: list[int]
    log_p: float
    weights: list[NDArray[Any]]

    def extended(
        self, token: int, log_p: float, weights: NDArray[Any] | None, row: int
    ) -> "Hypothesis":
        """Return the hypothesis with one more token; `log_p` is that of all of them."""
        more = [] if weights is None else [weights[row]]
        return Hypothesis([*self.ids, token], log_p, [*self.weights, *more])


class Translator:
    """Answers of a `symrnn.Seq2Seq` or a `symrnn.Transformer`, one compiled step at a time.

    Parameters
    ----------
    model
        The model; its weights may change later, as in training.
    vocabularies
        Those that it was trained with.
    mode
        As for `symrnn.function`. Mode JAX compiles again for each number and length of the texts
        that are answered together, and for each number of hypotheses; a `Transformer` does not take
        it.
    longest
        An answer is cut off after so many tokens; at the latest where a model's learned positions
        end.
    longest_source
        Texts with more tokens are rejected. Default: those that go beyond a model's learned
        positions.

    Attributes
    ----------
    encoder, step
        The compiled functions, see `compile_encoder` and `compile_step` of the model.

    Examples
    --------
    >>> from symrnn.models.seq2seq.model import Seq2Seq
    >>> from symrnn.text import pair_batches
    >>> from symrnn.training.optimizers import adam
    >>> pairs = [("ab", "ba"), ("ba", "ab"), ("aa", "aa"), ("bb", "bb")]
    >>> both = PairVocabularies.build(pairs)
    >>> model = Seq2Seq(len(both.source), len(both.target), 4, 16, rng=np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.03))
    >>> batches = pair_batches(*both.encode(pairs), batch_size=4, eos=both.target.eos)
    >>> losses = [step(*batches[0]) for _ in range(60)]
    >>> translator = Translator(model, both)
    >>> [answer.text for answer in translator.translate(["ab", "ba"])]
    ['ba', 'ab']
    >>> translator.beam_search("ab", width=3)[0].text
    'ba'
    >>> translator.accuracy(pairs)
    1.0
    """

    def __init__(
        self,
        model: EncoderDecoder,
        vocabularies: PairVocabularies,
        *,
        mode: Any = None,
        longest: int = 100,
        longest_source: int | None = None,
    ) -> None:
        if not isinstance(model, EncoderDecoder):
            raise TypeError(
                f"the model is a {type(model).__name__}, but must be a Seq2Seq or a Transformer: "
                "for a LanguageModel or a TransformerLM there is symrnn.TextGenerator"
            )
        sizes = len(vocabularies.source), len(vocabularies.target)
        if sizes != (model.n_source, model.n_target):
            raise ValueError(
                f"the vocabularies have {sizes[0]} and {sizes[1]} tokens, but the model "
                f"{model.n_source} and {model.n_target}: take those that it was trained with"
            )
        check_whole("longest", longest)
        if longest_source is not None:
            check_whole("longest_source", longest_source)
        if model.n_positions is not None:
            longest = min(longest, model.n_positions)
            longest_source = min(longest_source or model.n_positions, model.n_positions)
        self.model, self.vocabularies = model, vocabularies
        self.longest, self.longest_source = longest, longest_source
        self._banned = [] if vocabularies.target.unk is None else [vocabularies.target.unk]
        self.encoder, self.step = _compiled(model, as_mode(mode))

    def translate(
        self,
        texts: Sequence[str],
        *,
        rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> list[Answer]:
        """Answer texts: greedy, or sampled where there is a generator of random numbers.

        Parameters
        ----------
        texts
            Sources, a list of strings.
        rng
            Source of random numbers. Default: greedy, at each step the most probable token.
        temperature
            Divides the log probabilities before sampling: below 1 the probable becomes more
            probable, above 1 less. Needs `rng`, as the next two do.
        top_k
            Sample from the k most probable tokens only.
        top_p
            Sample from the most probable tokens only, the fewest whose probabilities sum to
            `top_p` (nucleus sampling). See `symrnn.models.sampling.sampling_probabilities`.

        Returns
        -------
        list of Answer
            One for each text, in order; ``answer.text`` is its text.

        Raises
        ------
        UnknownTokenError
            If a token of a text is unknown and the vocabulary has no ``<unk>``.
        ValueError
            If a text is empty or too long; none is answered then.
        """
        if isinstance(texts, str):
            raise TypeError(f"texts is a string, but must be a list of them: [{texts[:20]!r}]")
        check_drawing(rng, len(self.vocabularies.target), temperature, top_k, top_p)
        sources = [self.encode(text) for text in texts]  # all are checked before any is answered
        if rng is None:
            return self._answers(sources, _greedy)

        def sampled(log_p: NDArray[Any]) -> NDArray[np.int64]:
            rows = log_p.astype(np.float64)
            return np.array([draw(probabilities(r, temperature, top_k, top_p), rng) for r in rows])

        return self._answers(sources, sampled)

    def wrong_answers(self, pairs: Sequence[Pair]) -> list[tuple[str, str, str]]:
        """Return what is answered wrongly: source, greedy answer, and the right one.

        Parameters
        ----------
        pairs
            Sources, of any length that the model can read, and right answers. What counts as right
            is what the tokenizer makes of an answer: in lowercase where it lowers all letters, for
            example.
        """
        tokenizer = self.vocabularies.tokenizer
        sources = [self.encode(source, any_length=True) for source, _ in pairs]
        answers = self._answers(sources, _greedy)
        right = [tokenizer.detokenize(tokenizer.tokenize(target)) for _, target in pairs]
        found = zip(pairs, answers, right, strict=True)
        return [(source, a.text, r) for (source, _), a, r in found if a.text != r]

    def accuracy(self, pairs: Sequence[Pair]) -> float:
        """Return the exact-match accuracy: the fraction of sources whose whole answer is right.

        Parameters
        ----------
        pairs
            Sources and right answers, at least one pair; see `wrong_answers`.
        """
        if not pairs:
            raise ValueError("there are no pairs, but accuracy needs at least one")
        return 1 - len(self.wrong_answers(pairs)) / len(pairs)

    def beam_search(
        self, text: str, *, width: int, n_best: int | None = None, length_power: float = 0.0
    ) -> list[Answer]:
        """Search for the most probable answers.

        At each step each of the hypotheses that are kept, at most `width`, is extended by every
        token, and the most probable ones are kept; those that end are put aside. With a width of 1
        this is greedy.

        Parameters
        ----------
        text
            The source.
        width
            The beam width: how many hypotheses are kept, at least 1.
        n_best
            How many answers to return, at most `width`. Default: `width`.
        length_power
            Answers are ranked by ``log_p / n**length_power``, n being the number of tokens: 0 ranks
            by their probability, which is lower for a longer answer; 1 by the mean per token
            (length normalisation: Wu et al., 2016, have a similar one).

        Returns
        -------
        list of Answer
            The best first. Answers that were cut off as too long, whose last token is not
            ``<eos>``, come after all that have ended, and only if these are too few. There may be
            fewer than `n_best` where there are no others.
        """
        check_whole("width", width)
        check_whole("n_best", n_best := width if n_best is None else n_best)
        if n_best > width:
            raise ValueError(f"n_best is {n_best}, but must be at most width, which is {width}")
        check_positive("length_power", length_power, or_zero=True)
        source, eos = self.encode(text), self.vocabularies.target.eos
        inputs, states = self._encoded([source])
        beam, ended = [Hypothesis([], 0.0, [])], []

        def score(h: Hypothesis, n: int | None = None) -> float:
            return float(h.log_p / (n or len(h.ids)) ** length_power)

        for _ in range(self.longest):
            previous = np.array([h.ids[-1] if h.ids else self.model.start for h in beam])
            log_p, weights, states = self._next(previous, inputs, states)
            scores = log_p.astype(np.float64) + [[h.log_p] for h in beam]
            rows, before, beam = [], beam, []
            for i in largest(scores.ravel(), width).tolist():
                row, token = divmod(i, log_p.shape[1])
                longer = before[row].extended(token, float(scores[row, token]), weights, row)
                if token == eos:
                    ended.append(longer)
                else:
                    beam.append(longer)
                    rows.append(row)
            ended = sorted(ended, key=score, reverse=True)[:n_best]
            # a hypothesis only becomes less probable, and its score is best at full length
            if len(ended) == n_best and all(
                score(h, self.longest) <= score(ended[-1]) for h in beam
            ):
                beam = []
            if not beam:
                break
            inputs, states = self._rows(inputs, rows), [s[rows] for s in states]
        # what was cut off is not an answer yet: it comes last, and only where too few have ended
        found = [*ended, *sorted(beam, key=score, reverse=True)][:n_best]
        return [self._answer(source, h, score(h)) for h in found]

    def encode(self, text: str, *, any_length: bool = False) -> NDArray[np.int64]:
        """Return the token ids of a source, shape ``(time,)``; raises as `translate` does.

        Parameters
        ----------
        text
            The source.
        any_length
            True accepts any length that the model can read, whatever `longest_source` is.
        """
        ids = self.vocabularies.encode_source(text)
        if not ids.size:
            raise ValueError(f"the source {text!r} is empty, but must have at least one token")
        most = self.model.n_positions if any_length else self.longest_source
        if most is not None and len(ids) > most:
            remedy = "raise longest_source (--longest-source)"
            if most == self.model.n_positions:
                remedy = "train a model with more positions"
            raise ValueError(
                f"the source {text!r} has {len(ids)} tokens, but at most {most} are "
                f"allowed: cut it into parts, or {remedy}"
            )
        return ids

    def _answers(self, sources: list[NDArray[np.int64]], choose: Any) -> list[Answer]:
        answers: list[Answer] = []
        for k in range(0, len(sources), BATCH_SIZE):
            answers += self._batch_of_answers(sources[k : k + BATCH_SIZE], choose)
        return answers

    def _batch_of_answers(self, sources: list[NDArray[np.int64]], choose: Any) -> list[Answer]:
        """Answer some sources, each step for all of them."""
        inputs, states = self._encoded(sources)
        found = [Hypothesis([], 0.0, []) for _ in sources]
        tokens, unfinished = np.full(len(sources), self.model.start), list(range(len(sources)))
        for _ in range(self.longest):
            log_p, weights, states = self._next(tokens, inputs, states)
            tokens = choose(log_p)
            for k in unfinished:
                total = found[k].log_p + float(log_p[k, tokens[k]])
                found[k] = found[k].extended(int(tokens[k]), total, weights, k)
            unfinished = [k for k in unfinished if tokens[k] != self.vocabularies.target.eos]
            if not unfinished:
                break
        return [self._answer(s, h, h.log_p) for s, h in zip(sources, found, strict=True)]

    def _encoded(self, sources: list[NDArray[np.int64]]) -> tuple[dict[str, Any], list[Any]]:
        """Read sources; return the decoder's inputs by name, and its initial states."""
        arrays, names = self.encoder(*padded(sources)), self.model.decoder_inputs
        return dict(zip(names, arrays, strict=False)), arrays[len(names) :]

    @staticmethod
    def _rows(inputs: dict[str, Any], rows: list[int]) -> dict[str, Any]:
        """Some samples of the batch."""
        return {name: v[rows] if name == "vector" else v[:, rows] for name, v in inputs.items()}

    def _next(
        self, tokens: NDArray[np.int64], inputs: dict[str, Any], states: list[Any]
    ) -> tuple[NDArray[Any], NDArray[Any] | None, list[Any]]:
        """Make one step of the decoder; return log_p, attention weights and the next states."""
        log_p, *rest = self.step(tokens, *inputs.values(), *states)
        if np.isnan(log_p).any():
            raise ValueError("the model's probabilities are NaN: its training has gone wrong")
        log_p[:, self._banned] = -np.inf
        weights = rest.pop(0) if self.model.has_attention else None
        return log_p, weights, rest

    def _answer(self, source: NDArray[np.int64], found: Hypothesis, score: float) -> Answer:
        weights = np.array(found.weights)[:, : len(source)] if found.weights else None
        both = self.vocabularies
        return Answer(
            both.answer(found.ids), both.source.decode(source), both.target.decode(found.ids),
            found.log_p, score, weights,
        )  # fmt: skip


def _greedy(log_p: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray(log_p.argmax(axis=1))


def _compiled(model: EncoderDecoder, mode: Any) -> tuple[Any, Any]:
    """Return the model's encoder and step; in mode JAX compiled for each shape that comes."""
    if get_mode(mode) is not JAX:
        return model.compile_encoder(mode=mode), model.compile_step(mode=mode)
    names = model.decoder_inputs
    mask = 1 + names.index("mask") if "mask" in names else None
    encoder = _by_shape(
        lambda shape: model.compile_encoder(mode=mode, source_shape=shape),
        lambda arrays: arrays[0].shape,
    )
    step = _by_shape(
        lambda shape: model.compile_step(mode=mode, source_shape=shape),
        lambda arrays: (1 if mask is None else len(arrays[mask]), len(arrays[0])),
    )
    return encoder, step


def _by_shape(compile: Callable[[Any], Any], shape_of: Callable[[Any], Any]) -> Any:
    """Return a function that is compiled when arrays of a new shape come."""
    compiled: dict[Any, Any] = {}

    def call(*arrays: Any) -> list[NDArray[Any]]:
        shape = shape_of(arrays)
        if shape not in compiled:
            compiled[shape] = compile(shape)
        return [np.array(v) for v in compiled[shape](*arrays)]

    return call
