"""Answers of a sequence to sequence model: greedy, drawn, or by beam search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pytensor.compile.mode import JAX, get_mode

from symrnn._validate import check_whole
from symrnn.models.sampling import check_drawing, draw, largest, probabilities
from symrnn.models.seq2seq.model import Seq2Seq
from symrnn.models.seq2seq.transformer import Transformer
from symrnn.text import Pair, PairVocabularies, padded

TOGETHER = 256
"""So many texts are read side by side."""


@dataclass(frozen=True)
class Answer:
    """What a model says to a text.

    Attributes
    ----------
    text
        The answer.
    source, tokens
        The tokens that were read, and those that were said; the last one is ``<eos>``, unless the
        answer was cut off as too long.
    log_p
        Log probability of these tokens.
    score
        What beam search has sorted by; else the same as `log_p`.
    weights
        What each token was said looking at, shape ``(tokens, source)``, as
        `symrnn.plots.attention_map` takes it; None without attention.
    """

    text: str
    source: list[str]
    tokens: list[str]
    log_p: float
    score: float
    weights: NDArray[Any] | None


class Translator:
    """Lets a `Seq2Seq` or a `Transformer` answer, one compiled step at a time.

    Parameters
    ----------
    model
        A `Seq2Seq` or a `Transformer`; its weights may change later, as in training.
    vocabularies
        Those that it was trained with.
    mode
        As for `pytensor.function`. Default: that of the model's `compile_step`. Mode JAX compiles
        anew for each size of what is read together, and of a beam; a `Transformer` does not take
        it.
    longest
        An answer is cut off after so many tokens; where a `Transformer` has learnt its positions,
        at the latest after as many.
    longest_source
        Longer texts are refused, and those that are longer than learnt positions. Default: none
        else is.

    Attributes
    ----------
    encoder, step
        The compiled functions, see `Seq2Seq.compile_encoder` and `Seq2Seq.compile_step`.
    readable
        How many tokens the model can read: its learnt positions, or None.

    Raises
    ------
    ValueError
        If the vocabularies do not have as many tokens as the model, or a length is below 1.
    TypeError
        If the model is another one, such as a language model.

    Examples
    --------
    >>> from symrnn.compiling.modes import QUICK
    >>> from symrnn.text import pair_batches
    >>> from symrnn.training.optimizers import adam
    >>> pairs = [("ab", "ba"), ("ba", "ab"), ("aa", "aa"), ("bb", "bb")]
    >>> both = PairVocabularies.build(pairs)
    >>> model = Seq2Seq(len(both.source), len(both.target), 4, 16, np.random.default_rng(1))
    >>> step = model.compile_training(lambda loss, params: adam(loss, params, 0.03), mode=QUICK)
    >>> batches = pair_batches(*both.encode(pairs), batch_size=4, eos=both.target.eos)
    >>> losses = [step(*batches[0]) for _ in range(60)]
    >>> translator = Translator(model, both, mode=QUICK)
    >>> [answer.text for answer in translator.translate(["ab", "ba"])]
    ['ba', 'ab']
    >>> translator.accuracy(pairs)
    1.0
    """

    def __init__(
        self,
        model: Seq2Seq | Transformer,
        vocabularies: PairVocabularies,
        mode: Any = None,
        longest: int = 100,
        longest_source: int | None = None,
    ) -> None:
        if not isinstance(model, Seq2Seq | Transformer):
            raise TypeError(
                f"the model is a {type(model).__name__}, but must be a Seq2Seq or a Transformer: "
                "for a LanguageModel or a TransformerLM there is symrnn.models.language.generation.Writer"
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
        self.model, self.vocabularies = model, vocabularies
        self.readable = model.positions if isinstance(model, Transformer) else None
        if self.readable is not None:
            longest = min(longest, self.readable)
            longest_source = min(longest_source or self.readable, self.readable)
        self.longest, self.longest_source = longest, longest_source
        self._banned = [] if vocabularies.target.unk is None else [vocabularies.target.unk]
        self.encoder: Any
        self.step: Any
        if isinstance(model, Seq2Seq) and get_mode(mode) is JAX:  # which needs to know all shapes
            places = 0 if model.attention is None else model.known.index("mask")
            self.encoder = _by_shape(
                lambda shape: model.compile_encoder(mode, shape), lambda arrays: arrays[0].shape
            )
            self.step = _by_shape(
                lambda shape: model.compile_step(mode, shape),
                lambda arrays: (len(arrays[1 + places]) if places else 1, len(arrays[0])),
            )
        else:
            given = {} if mode is None else {"mode": mode}
            self.encoder, self.step = model.compile_encoder(**given), model.compile_step(**given)

    def translate(
        self,
        texts: Sequence[str],
        rng: Generator | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> list[Answer]:
        """Answer some texts.

        Parameters
        ----------
        texts
            Sources, a list of strings.
        rng
            Source of random numbers, to draw each token. Default: greedy, at each step the most
            probable one.
        temperature, top_k, top_p
            How to draw, see `symrnn.models.sampling`. They need `rng`.

        Returns
        -------
        list of Answer
            One for each text, in order: ``answer.text`` is what is said.

        Raises
        ------
        TypeError, ValueError
            If something is not as said; a text is empty, or too long.
        UnknownTokenError
            If a token of a text is unknown, and the vocabulary has no ``<unk>``.
        """
        if isinstance(texts, str):
            raise TypeError(f"texts is a string, but must be a list of them: [{texts[:20]!r}]")
        check_drawing(rng, len(self.vocabularies.target), temperature, top_k, top_p)
        sources = [self.encode(text) for text in texts]  # all are checked before any is answered

        def choose(log_p: NDArray[Any]) -> NDArray[np.int64]:
            if rng is None:
                return np.asarray(log_p.argmax(axis=1))
            rows = log_p.astype(np.float64)
            return np.array([draw(probabilities(r, temperature, top_k, top_p), rng) for r in rows])

        return self._answers(sources, choose)

    def wrong_answers(self, pairs: Sequence[Pair]) -> list[tuple[str, str, str]]:
        """Return what is answered wrong: source, greedy answer, and what is right.

        Sources may be of any length that the model can read. What is right is what the tokeniser
        makes of a target: in small letters where all are, for example.

        Raises
        ------
        ValueError, UnknownTokenError
            As `translate`, but for `longest_source`.
        """
        tokenizer = self.vocabularies.tokenizer
        sources = [self.encode(source, of_any_length=True) for source, _ in pairs]
        answers = self._answers(sources, lambda log_p: np.asarray(log_p.argmax(axis=1)))
        right = [tokenizer.detokenize(tokenizer.tokenize(target)) for _, target in pairs]
        found = zip(pairs, answers, right, strict=True)
        return [(source, a.text, r) for (source, _), a, r in found if a.text != r]

    def accuracy(self, pairs: Sequence[Pair]) -> float:
        """Return which share of the sources gets the right answer, all of it.

        Raises
        ------
        ValueError, UnknownTokenError
            As `translate`, but for `longest_source`; or if there is no pair.
        """
        if not pairs:
            raise ValueError("there are no pairs, but a share needs at least one")
        return 1 - len(self.wrong_answers(pairs)) / len(pairs)

    def beam_search(
        self, text: str, width: int, n_best: int | None = None, length_power: float = 0.0
    ) -> list[Answer]:
        """Look for the most probable answers.

        At each step all beginnings that are kept, at most `width`, are continued in all ways, and
        the most probable are kept; what ends is put aside. A width of 1 is greedy.

        Parameters
        ----------
        text
            The source.
        width
            How many beginnings are kept, at least 1.
        n_best
            How many answers to return, at most `width`. Default: `width`.
        length_power
            Answers are sorted by ``log_p / n**length_power``, n being the number of tokens: 0
            sorts by their probability, which is lower for a longer answer; 1 by the mean for a
            token (length normalisation: Wu et al., 2016, have a similar one).

        Returns
        -------
        list of Answer
            The best first. Answers that were cut off as too long, whose last token is not
            ``<eos>``, come after all that have ended, and only if these are too few. There may be
            less than `n_best` where nothing else can be said.

        Raises
        ------
        TypeError, ValueError, UnknownTokenError
            As `translate`; or if a number is out of range.
        """
        check_whole("width", width)
        check_whole("n_best", n_best := width if n_best is None else n_best)
        if n_best > width:
            raise ValueError(f"n_best is {n_best}, but must be at most width, which is {width}")
        if not 0 <= length_power < np.inf:
            raise ValueError(
                f"length_power is {length_power}, but must be 0 or more, and finite; 1 is usual"
            )
        source, eos = self.encode(text), self.vocabularies.target.eos
        known, states = self._read([source])
        going = [Beginning([], 0.0, [])]
        ended: list[Beginning] = []

        def score(beginning: Beginning, n: int | None = None) -> float:
            return float(beginning.log_p / (n or len(beginning.ids)) ** length_power)

        for _ in range(self.longest):
            last = np.array([b.ids[-1] if b.ids else self.model.start for b in going])
            log_p, weights, states = self._next(last, known, states)
            scores = log_p.astype(np.float64) + [[b.log_p] for b in going]
            rows, before, going = [], going, []
            for i in largest(scores.ravel(), width).tolist():
                row, token = divmod(i, log_p.shape[1])
                b = before[row]
                looked = [*b.weights, weights[row]] if weights is not None else []
                longer = Beginning([*b.ids, token], float(scores[row, token]), looked)
                if token == eos:
                    ended.append(longer)
                else:
                    going.append(longer)
                    rows.append(row)
            ended = sorted(ended, key=score, reverse=True)[:n_best]
            # a beginning only becomes less probable, and its score is best at full length
            if len(ended) == n_best and all(
                score(b, self.longest) <= score(ended[-1]) for b in going
            ):
                going = []
            if not going:
                break
            known, states = self._rows(known, rows), [s[rows] for s in states]
        # what was cut off is no answer yet: it comes last, and only where too few have ended
        found = [*ended, *sorted(going, key=score, reverse=True)][:n_best]
        return [self._answer(source, b, score(b)) for b in found]

    def _answers(self, sources: list[NDArray[np.int64]], choose: Any) -> list[Answer]:
        answers: list[Answer] = []
        for k in range(0, len(sources), TOGETHER):
            answers += self._side_by_side(sources[k : k + TOGETHER], choose)
        return answers

    def _side_by_side(self, sources: list[NDArray[np.int64]], choose: Any) -> list[Answer]:
        """Answer some sources, each step for all of them."""
        known, states = self._read(sources)
        said = [Beginning([], 0.0, []) for _ in sources]
        tokens, going = np.full(len(sources), self.model.start), list(range(len(sources)))
        for _ in range(self.longest):
            log_p, weights, states = self._next(tokens, known, states)
            tokens = choose(log_p)
            for k in going:
                b, looked = said[k], [] if weights is None else [weights[k]]
                new = [*b.ids, int(tokens[k])], b.log_p + float(log_p[k, tokens[k]])
                said[k] = Beginning(*new, [*b.weights, *looked])
            going = [k for k in going if tokens[k] != self.vocabularies.target.eos]
            if not going:
                break
        return [self._answer(s, b, b.log_p) for s, b in zip(sources, said, strict=True)]

    def encode(self, text: str, of_any_length: bool = False) -> NDArray[np.int64]:
        """Return the token numbers of a source, shape ``(time,)``, or raise as `translate` does."""
        ids = self.vocabularies.encode_source(text)
        if not ids.size:
            raise ValueError(f"the source {text!r} is empty, but there must be something to read")
        most = self.readable if of_any_length else self.longest_source
        if most is not None and len(ids) > most:
            more = "raise longest_source (--longest)"
            if most == self.readable:
                more = "train a model with more positions"
            raise ValueError(
                f"the source {text!r} has {len(ids)} tokens, but at most {most} are "
                f"allowed: cut it into parts, or {more}"
            )
        return ids

    def _read(self, sources: list[NDArray[np.int64]]) -> tuple[dict[str, Any], list[Any]]:
        """Let the encoder read; return what the decoder needs at all steps, and its states."""
        arrays = self.encoder(*padded(sources))
        n = len(self.model.known)
        return dict(zip(self.model.known, arrays[:n], strict=True)), arrays[n:]

    @staticmethod
    def _rows(known: dict[str, Any], rows: list[int]) -> dict[str, Any]:
        """Of what the decoder knows, some rows of the batch."""
        return {name: v[rows] if name == "vector" else v[:, rows] for name, v in known.items()}

    def _next(
        self, tokens: NDArray[np.int64], known: dict[str, Any], states: list[Any]
    ) -> tuple[NDArray[Any], NDArray[Any] | None, list[Any]]:
        """Let the decoder take a step."""
        log_p, *rest = self.step(tokens, *known.values(), *states)
        if np.isnan(log_p).any():
            raise ValueError("the model's probabilities are NaN: its training has gone wrong")
        log_p[:, self._banned] = -np.inf
        weights = rest.pop(0) if self.model.attention is not None else None
        return log_p, weights, rest

    def _answer(self, source: NDArray[np.int64], said: "Beginning", score: float) -> Answer:
        weights = np.array(said.weights)[:, : len(source)] if said.weights else None
        both = self.vocabularies
        return Answer(
            both.answer(said.ids), both.source.decode(source), both.target.decode(said.ids),
            said.log_p, score, weights,
        )  # fmt: skip


def _by_shape(compile: Callable[[Any], Any], shape_of: Callable[[Any], Any]) -> Any:
    """Return a function that is compiled when arrays of a new shape come."""
    compiled: dict[Any, Any] = {}

    def call(*arrays: Any) -> list[NDArray[Any]]:
        shape = shape_of(arrays)
        if shape not in compiled:
            compiled[shape] = compile(shape)
        return [np.array(v) for v in compiled[shape](*arrays)]

    return call


@dataclass(frozen=True)
class Beginning:
    """The beginning of an answer: tokens, their log probability, what was looked at for each."""

    ids: list[int]
    log_p: float
    weights: list[NDArray[Any]]
