"""Probabilistic grammars whose best possible perplexity is known.

A grammar is a finite-state machine: in each state it draws a word, and the word decides the next
state (a unifilar hidden Markov model). Whoever has read all words so far knows the state, and from
it the exact probabilities of the next word: nobody can predict better. The entropy rate is a short
sum (Shannon, 1948), and a language model can be measured against it.

`symrnn.tasks.english_grammar` makes one of English-like sentences.
"""

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from symrnn._validate import check_sizes, check_whole

State = Hashable
Rules = Mapping[State, Mapping[str, tuple[float, State]]]


class Grammar:
    """A finite-state machine that generates an endless text.

    Parameters
    ----------
    rules
        For each state its words, and for each word its probability and the next state:
        ``{state: {word: (probability, next state)}}``. Probabilities are positive, with sum 1 in
        each state, and every state can be reached from every other one.
    start
        The state before the first word.

    Attributes
    ----------
    words : tuple of str
        All words, in alphabetical order, which is the order of their ids.
    states : tuple
        All states, in the order of the rules.
    probabilities : array of shape (states, words)
        Probability of the next word in each state.
    stationary : array of shape (states,)
        How often each state occurs in the long run.
    entropy_rate : float
        ``H = - sum_s stationary[s] sum_w P(w | s) ln P(w | s)``, nats per word: the lowest loss
        that any model can have in the long run.
    perplexity : float
        ``exp(H)``, the lowest possible perplexity.
    bigram_entropy : float
        ``H(w_t | w_{t-1})``, nats per word: the lowest loss of a model that sees the previous word.
    unigram_entropy : float
        ``H(w_t)``: the same for a model that sees none.

    Examples
    --------
    No ``b`` ever follows another one (the golden mean shift):

    >>> grammar = Grammar({1: {"a": (0.5, 1), "b": (0.5, 2)}, 2: {"a": (1, 1)}}, start=1)
    >>> grammar.stationary.round(3), f"{grammar.entropy_rate / np.log(2):.3f} bits"
    (array([0.667, 0.333]), '0.667 bits')
    >>> grammar.decode(grammar.sample(8, rng=np.random.default_rng(1)))
    ['b', 'a', 'a', 'b', 'a', 'a', 'b', 'a']
    >>> grammar.next_words(["a", "b"])
    {'a': 1.0}
    """

    def __init__(self, rules: Rules, start: State) -> None:
        _check(rules, start)
        self.rules, self.start = rules, start
        self.states = tuple(rules)
        self.words = tuple(sorted({word for outgoing in rules.values() for word in outgoing}))
        self._ids = {word: i for i, word in enumerate(self.words)}
        index = {state: i for i, state in enumerate(self.states)}
        shape = len(self.states), len(self.words)
        self.probabilities, self._next = np.zeros(shape), np.full(shape, -1)
        for (s, outgoing), word in product(enumerate(rules.values()), self.words):
            if word in outgoing:
                p, following = outgoing[word]
                self.probabilities[s, self._ids[word]] = p
                self._next[s, self._ids[word]] = index[following]
        self._start = index[start]
        self.stationary = self._stationary()
        self.entropy_rate = float(self.stationary @ _entropy(self.probabilities))
        self.unigram_entropy, self.bigram_entropy = self.entropies(1).tolist()
        self.perplexity = float(np.exp(self.entropy_rate))

    def _moves(self) -> NDArray[np.float64]:
        """Return P(word, next state | state), of shape (words, states, states)."""
        moves = np.zeros((len(self.words), len(self.states), len(self.states)))
        s, w = np.nonzero(self.probabilities)
        moves[w, s, self._next[s, w]] = self.probabilities[s, w]
        return moves

    def _stationary(self) -> NDArray[np.float64]:
        """Return the p with ``p_next = sum_s p_s P(s -> next)`` and sum 1."""
        n = len(self.states)
        equations = self._moves().sum(axis=0).T - np.eye(n)
        equations[-1] = 1  # one equation follows from the others: in its place, the sum
        solution: NDArray[np.float64] = np.linalg.solve(equations, np.eye(n)[-1])
        return solution

    def entropies(self, n_words: int) -> NDArray[np.float64]:
        """Return the lowest loss of a model that sees only the last 0, 1, ..., `n_words` words.

        ``H_n = H(w_t | w_{t-1}, ..., w_{t-n})``, nats per word (Shannon, 1951). It decreases with
        n towards `entropy_rate`. Such a model knows the grammar, but not in which state the words
        that it sees begin. So it has a belief, a probability of each state: at first `stationary`.
        Each word keeps the states that can produce it, and moves them on. Texts that lead to the
        same belief are counted as one; for `english` a few hundred are left, however long they are.

        Parameters
        ----------
        n_words
            How many words the model sees at most, at least 0.

        Returns
        -------
        array of shape (n_words + 1,)
            ``H_0`` (`unigram_entropy`), ``H_1`` (`bigram_entropy`), ..., float64.

        Examples
        --------
        >>> from symrnn.tasks.english_grammar import english
        >>> np.exp(english().entropies(3)).round(2)
        array([35.72,  7.09,  6.15,  5.5 ])
        """
        check_whole("n_words", n_words, least=0)
        moves, beliefs = self._moves(), self.stationary[None]  # (beliefs, states)
        chances: NDArray[np.float64] = np.ones(1)
        found = [chances @ _entropy(beliefs @ self.probabilities)]
        for _ in range(n_words):
            moved = beliefs @ moves  # (words, beliefs, states)
            p = moved.sum(axis=2)  # of each word after each belief
            joint, moved = (chances * p)[p > 0], moved[p > 0] / p[p > 0, None]
            _, first, which = np.unique(
                moved.round(9), axis=0, return_index=True, return_inverse=True
            )
            beliefs, chances = moved[first], np.zeros(len(first))
            np.add.at(chances, which.ravel(), joint)
            found.append(chances @ _entropy(beliefs @ self.probabilities))
        return np.array(found)

    def sample(self, n_words: int, *, rng: Generator) -> NDArray[np.int64]:
        """Generate a text that begins in the state `start`.

        Parameters
        ----------
        n_words
            Number of words.
        rng
            Random generator.

        Returns
        -------
        array of shape (n_words,)
            Word ids, int64; `decode` gives the words.
        """
        check_sizes(n_words=n_words)
        choices = []  # for each state: cumulative probabilities, words and next states, as lists
        for p, following in zip(self.probabilities, self._next, strict=True):
            possible = np.flatnonzero(p)
            sums = np.cumsum(p[possible])
            sums[-1] = 1  # but for rounding
            choices.append((sums.tolist(), possible.tolist(), following[possible].tolist()))
        ids, state = [], self._start
        for u in rng.random(n_words).tolist():
            sums, words, following = choices[state]
            k = bisect_right(sums, u)
            ids.append(words[k])
            state = following[k]
        return np.array(ids)

    def encode(self, words: Iterable[str]) -> NDArray[np.int64]:
        """Return word ids, int64; all words must be in the grammar."""
        words = list(words)
        for k, word in enumerate(words):
            if word not in self._ids:
                raise ValueError(f"word {k} is {word!r}, which the grammar does not have")
        return np.array([self._ids[word] for word in words], np.int64)

    def decode(self, ids: ArrayLike) -> list[str]:
        """Return the words of word ids, an array of whole numbers of shape ``(words,)``."""
        return [self.words[i] for i in self._checked(ids).tolist()]

    def next_words(self, prefix: Iterable[str] = ()) -> dict[str, float]:
        """Return the exact probability of each possible next word, the most probable first.

        Parameters
        ----------
        prefix
            All words since `start`; for the grammar `english`, those since the beginning of any
            sentence.
        """
        state = self.follow(self.encode(prefix))[-1]
        found = [(w, float(p)) for w, p in zip(self.words, self.probabilities[state], strict=True)]
        return dict(sorted(((w, p) for w, p in found if p), key=lambda pair: -pair[1]))

    def log_probabilities(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Return the log probability of each word of a text, given all words before it.

        Minus their mean is the loss of a model that knows the grammar; for a long text it
        approaches `entropy_rate`.

        Parameters
        ----------
        ids
            Ids of the words since `start`, of shape ``(words,)``; a text of this grammar.

        Returns
        -------
        array of shape (words,)
            Nats, float64.
        """
        ids = self._checked(ids)
        known: NDArray[np.float64] = np.log(self.probabilities[self.follow(ids)[:-1], ids])
        return known

    def follow(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Return the state before each word of a text, and the one after the last.

        Parameters
        ----------
        ids
            Ids of the words since `start`, of shape ``(words,)``; a text of this grammar.

        Returns
        -------
        array of shape (words + 1,)
            Indices of `states`, and of rows of `probabilities`, int64.

        Examples
        --------
        The probabilities of the next word after each prefix of a text:

        >>> grammar = Grammar({1: {"a": (0.5, 1), "b": (0.5, 2)}, 2: {"a": (1, 1)}}, start=1)
        >>> grammar.probabilities[grammar.follow(grammar.encode(["a", "b"]))]
        array([[0.5, 0.5],
               [0.5, 0.5],
               [1. , 0. ]])
        """
        path, follow = [self._start], self._next.tolist()
        for k, word in enumerate(self._checked(ids).tolist()):
            state = follow[path[-1]][word]
            if state < 0:
                raise ValueError(
                    f"word {k} is {self.words[word]!r}, which cannot be there: this grammar "
                    f"continues with {', '.join(self.rules[self.states[path[-1]]])}"
                )
            path.append(state)
        return np.array(path, np.int64)

    def _checked(self, ids: ArrayLike) -> NDArray[np.int64]:
        given = np.asarray(ids)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise ValueError(
                f"the word ids are {given.dtype} of shape {given.shape}, but must be whole numbers "
                "with one axis"
            )
        if given.size and not 0 <= given.min() <= given.max() < len(self.words):
            raise ValueError(
                f"the word ids are from {given.min()} to {given.max()}, but there are 0 to "
                f"{len(self.words) - 1}"
            )
        return given.astype(np.int64)


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``- sum p ln p`` over the last axis."""
    total: NDArray[np.float64] = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
    return total


def _check(rules: Rules, start: State) -> None:
    """Raise ValueError unless every state can be reached, and left for the start again."""
    for state, outgoing in rules.items():
        chances = [p for p, _ in outgoing.values()]
        if not all(p > 0 for p in chances) or not abs(sum(chances) - 1) <= 1e-9:
            raise ValueError(
                f"the probabilities in state {state!r} are {chances}, but must be positive and "
                "their sum 1"
            )
    after = {s: {following for _, following in out.values()} for s, out in rules.items()}
    before: dict[State, set[State]] = {s: set() for s in rules}
    for s, following in after.items():
        for state in following:
            if state not in rules:
                raise ValueError(f"there is no rule for state {state!r}, which follows {s!r}")
            before[state].add(s)
    if start not in rules:
        raise ValueError(f"there is no rule for the start {start!r}")
    for reached, how in ((_reached(start, after), "from"), (_reached(start, before), "back to")):
        if missing := set(rules) - reached:
            raise ValueError(f"there is no way {how} the start: {min(missing, key=repr)!r}")


def _reached(start: State, following: Mapping[State, set[State]]) -> set[State]:
    seen, waiting = {start}, [start]
    while waiting:
        new = following[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen
