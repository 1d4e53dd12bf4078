"""A grammar that makes English-like sentences, and whose best possible perplexity is known.

A machine goes from state to state. In each state it says a word, by chance, and the word decides
which state comes next. So whoever has read all words so far knows the state, and from it the exact
probabilities of the next word: nobody can predict better. How much is left to guess, the entropy
rate, is a short sum (Shannon, 1948), and a language model can be measured against it.
"""

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

State = Hashable
Rules = Mapping[State, Mapping[str, tuple[float, State]]]

EOS = "<eos>"

NUMBERS, KINDS = ("one", "many"), ("living", "thing")
DETERMINERS = {"one many": "the", "one": "a every", "many": "many some"}
ADJECTIVES, PREPOSITIONS, ADVERBS = "big small red", "near behind beside", "today again"
NOUNS = {
    ("one", "living"): "dog cat boy girl",
    ("many", "living"): "dogs cats boys girls",
    ("one", "thing"): "door box car clock",
    ("many", "thing"): "doors boxes cars clocks",
}
VERBS = {
    ("one", "living"): "sleeps waits",
    ("many", "living"): "sleep wait",
    ("one", "thing"): "breaks opens falls",
    ("many", "thing"): "break open fall",
}
TRANSITIVE = {"one": "sees chases likes", "many": "see chase like"}
BE, PRONOUNS = {"one": "is", "many": "are"}, {"one": "it", "many": "they"}


class Grammar:
    """A machine with states that makes a text without end.

    Parameters
    ----------
    rules
        For each state its words, and for each word its probability and the state that follows:
        ``{state: {word: (probability, next state)}}``.
    start
        The state before the first word.

    Attributes
    ----------
    words : tuple of str
        All words, in alphabetical order. Their places are their numbers.
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
        ``exp(H)``, the lowest perplexity.
    bigram_entropy : float
        ``H(w_t | w_{t-1})``, nats per word: the lowest loss of a model that sees one word.
    unigram_entropy : float
        ``H(w_t)``: the same for a model that sees none.

    Raises
    ------
    ValueError
        If the probabilities of a state are not positive or their sum is not 1; if a state has no
        rule, or cannot be reached from every other one.

    Examples
    --------
    No ``b`` is ever followed by another one (the golden mean shift):

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
        number = {state: i for i, state in enumerate(self.states)}
        shape = len(self.states), len(self.words)
        self.probabilities, self._next = np.zeros(shape), np.full(shape, -1)
        for (s, outgoing), word in product(enumerate(rules.values()), self.words):
            if word in outgoing:
                p, following = outgoing[word]
                self.probabilities[s, self._ids[word]] = p
                self._next[s, self._ids[word]] = number[following]
        self._start = number[start]
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

        ``H_n = H(w_t | w_{t-1}, ..., w_{t-n})``, nats per word (Shannon, 1951). It falls with n,
        towards `entropy_rate`. Such a model knows the grammar, but not where the words that it
        sees begin. So it has a probability for each state: at first, how often the state occurs.
        Each word leaves those that can say it, and moves them on. Texts that lead to the same
        probabilities are counted as one; for `english` a few hundred are left, however long they
        are.

        Parameters
        ----------
        n_words
            How many words it sees at most, at least 0.

        Returns
        -------
        array of shape (n_words + 1,)
            ``H_0`` (`unigram_entropy`), ``H_1`` (`bigram_entropy`), ..., float64.

        Raises
        ------
        ValueError
            If `n_words` is negative.

        Examples
        --------
        >>> np.exp(english().entropies(3)).round(2)
        array([35.72,  7.09,  6.15,  5.5 ])
        """
        if n_words < 0:
            raise ValueError(f"n_words is {n_words}, but must be 0 or more")
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
        """Make a text that begins in the state `start`.

        Parameters
        ----------
        rng
            Source of random numbers.
        n_words
            How many words, at least 1.

        Returns
        -------
        array of shape (n_words,)
            Numbers of words, int64; `decode` gives the words.

        Raises
        ------
        ValueError
            If `n_words` is less than 1.
        """
        if n_words < 1:
            raise ValueError(f"n_words is {n_words}, but must be at least 1")
        choices = []  # for each state: sums of probabilities, words and next states, as lists
        for p, following in zip(self.probabilities, self._next, strict=True):
            there = np.flatnonzero(p)
            sums = np.cumsum(p[there])
            sums[-1] = 1  # whatever rounding has left
            choices.append((sums.tolist(), there.tolist(), following[there].tolist()))
        ids, state = [], self._start
        for u in rng.random(n_words).tolist():
            sums, words, following = choices[state]
            k = bisect_right(sums, u)
            ids.append(words[k])
            state = following[k]
        return np.array(ids)

    def encode(self, words: Iterable[str]) -> NDArray[np.int64]:
        """Return the numbers of words.

        Raises
        ------
        ValueError
            If the grammar does not have such a word.
        """
        words = list(words)
        for place, word in enumerate(words):
            if word not in self._ids:
                raise ValueError(f"word {place} is {word!r}, which the grammar does not have")
        return np.array([self._ids[word] for word in words], np.int64)

    def decode(self, ids: ArrayLike) -> list[str]:
        """Return the words that have these numbers.

        Raises
        ------
        ValueError
            If they are not whole numbers with one axis, each that of a word.
        """
        return [self.words[i] for i in self._checked(ids).tolist()]

    def next_words(self, prefix: Iterable[str] = ()) -> dict[str, float]:
        """Return the exact probability of each word that can follow, the most probable first.

        Parameters
        ----------
        prefix
            All words since `start`; for the grammar that `english` makes, those since the
            beginning of any sentence.

        Raises
        ------
        ValueError
            If the grammar cannot make such a text.
        """
        state = self.follow(self.encode(prefix))[-1]
        found = [(w, float(p)) for w, p in zip(self.words, self.probabilities[state], strict=True)]
        return dict(sorted(((w, p) for w, p in found if p), key=lambda pair: -pair[1]))

    def log_probabilities(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Return the log probability of each word of a text, given all words before it.

        Minus their mean is the loss of a model that knows the grammar; for a long text it comes
        near `entropy_rate`.

        Parameters
        ----------
        ids
            Numbers of the words since `start`, of shape ``(words,)``.

        Returns
        -------
        array of shape (words,)
            Nats, float64.

        Raises
        ------
        ValueError
            If the grammar cannot make such a text.
        """
        ids = self._checked(ids)
        known: NDArray[np.float64] = np.log(self.probabilities[self.follow(ids)[:-1], ids])
        return known

    def follow(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Return the state before each word of a text, and the one after the last.

        Parameters
        ----------
        ids
            Numbers of the words since `start`, of shape ``(words,)``.

        Returns
        -------
        array of shape (words + 1,)
            Numbers of states, int64: places in `states`, and rows of `probabilities`.

        Raises
        ------
        ValueError
            If the grammar cannot make such a text.

        Examples
        --------
        What can follow a text, and each beginning of it:

        >>> grammar = Grammar({1: {"a": (0.5, 1), "b": (0.5, 2)}, 2: {"a": (1, 1)}}, start=1)
        >>> grammar.probabilities[grammar.follow(grammar.encode(["a", "b"]))]
        array([[0.5, 0.5],
               [0.5, 0.5],
               [1. , 0. ]])
        """
        path, follow = [self._start], self._next.tolist()
        for place, word in enumerate(self._checked(ids).tolist()):
            state = follow[path[-1]][word]
            if state < 0:
                raise ValueError(
                    f"word {place} is {self.words[word]!r}, which cannot be there: this grammar "
                    f"goes on with {', '.join(self.rules[self.states[path[-1]]])}"
                )
            path.append(state)
        return np.array(path, np.int64)

    def _checked(self, ids: ArrayLike) -> NDArray[np.int64]:
        given = np.asarray(ids)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise ValueError(
                f"the numbers of words are {given.dtype} of shape {given.shape}, but must be whole "
                "numbers with one axis"
            )
        if given.size and not 0 <= given.min() <= given.max() < len(self.words):
            raise ValueError(
                f"the numbers of words are from {given.min()} to {given.max()}, but there are 0 to "
                f"{len(self.words) - 1}"
            )
        return given.astype(np.int64)


def english() -> Grammar:
    """Make a grammar of simple English sentences, each ending with ``<eos>``.

    For example "the small dogs near a door chase the cat because they are red". A verb agrees with
    its subject in number, and in what the subject is: dogs and girls sleep or chase, doors and cars
    break or open. Between both there may be any number of other nouns ("the dog near the doors
    behind the boys ...") and of clauses with nouns of their own ("that the cats see"). A reason at
    the end has the subject's pronoun. So a model has to keep two facts over many words; one that
    sees a single word cannot know which verb comes.

    Returns
    -------
    Grammar
        51 words and ``<eos>``, and 101 states.

    Examples
    --------
    >>> grammar = english()
    >>> round(grammar.perplexity, 3), round(float(np.exp(grammar.bigram_entropy)), 3)
    (4.85, 7.089)
    >>> likely = grammar.next_words("the small dogs near the door".split())
    >>> {word: round(p, 3) for word, p in likely.items() if p > 0.105}
    {'near': 0.191, 'sleep': 0.167, 'see': 0.109}
    """
    rules: dict[State, dict[str, tuple[float, State]]] = {}

    def noun_phrase(state: State, after: Mapping[tuple[str, str], State]) -> None:
        """Add rules for a determiner, perhaps an adjective, and a noun; say what comes after."""
        rules[state] = {}
        for numbers, determiners in DETERMINERS.items():
            nouns: dict[str, tuple[float, State]] = {}
            groups = [group for group in after if group[0] in numbers.split()]
            for group in groups:
                nouns |= _shared(NOUNS[group], 1 / len(groups), after[group])
            rules[state] |= _shared(determiners, 1 / len(DETERMINERS), (state, numbers))
            rules[state, numbers, "adjective"] = nouns
            rules[state, numbers] = _shared(ADJECTIVES, 0.3, (state, numbers, "adjective"))
            rules[state, numbers] |= {w: (0.7 * p, follows) for w, (p, follows) in nouns.items()}

    noun_phrase("sentence", {group: ("subject", *group) for group in NOUNS})
    for number in NUMBERS:
        ends = ("end", number)
        for kind in KINDS:
            subject = "subject", number, kind  # what must be remembered until its verb
            rules[subject] = {
                **_shared(PREPOSITIONS, 0.35, (subject, "near")),
                **_shared("that", 0.1, (subject, "that")),
                **_shared(BE[number], 0.1, ("adjective", number)),
                **_shared(VERBS[number, kind], 0.25 if kind == "living" else 0.45, ends),
            }
            if kind == "living":
                rules[subject] |= _shared(TRANSITIVE[number], 0.2, ("object", number))
            noun_phrase((subject, "near"), dict.fromkeys(NOUNS, subject))
            noun_phrase((subject, "that"), {(n, "living"): (subject, n) for n in NUMBERS})
            for other in NUMBERS:
                rules[subject, other] = _shared(TRANSITIVE[other], 1, subject)
        noun_phrase(("object", number), dict.fromkeys(NOUNS, ends))
        rules["adjective", number] = _shared(ADJECTIVES, 1, ends)
        because = _shared("because", 0.3, ("because", number))
        rules[ends] = {
            **_shared(EOS, 0.5, "sentence"),
            **because,
            **_shared(ADVERBS, 0.2, ("adverb", number)),
        }
        rules["adverb", number] = {**_shared(EOS, 0.7, "sentence"), **because}
        rules["because", number] = _shared(PRONOUNS[number], 1, ("pronoun", number))
        rules["pronoun", number] = _shared(BE[number], 1, "last adjective")
    rules["last adjective"] = _shared(ADJECTIVES, 1, "last")
    rules["last"] = _shared(EOS, 1, "sentence")
    return Grammar(rules, "sentence")


def agreement(
    grammar: Grammar, ids: ArrayLike, p: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Say how well a model of `english` lets verbs agree with their subjects.

    Looked at are all places where the verb of a sentence may come. Of the probability that the
    model gives to verbs there, how much goes to those that fit the subject, in number and in what
    it is? For one who knows the grammar that is 1.

    Parameters
    ----------
    grammar
        What `english` returned.
    ids
        Numbers of the words of a text since `start`, of shape ``(words,)``.
    p
        The model's probability of each word as the one after each of them but the last, of shape
        ``(words - 1, len(grammar.words))``.

    Returns
    -------
    between : array of shape (places,)
        How many words stand between the subject's noun and the place, int64. None is 0, "near the
        door" is 3; 1 and 2 do not occur.
    share : array of shape (places,)
        How much of the verbs' probability belongs to verbs that fit, float64.

    Raises
    ------
    ValueError
        If it is another grammar, if it cannot make such a text, or if `p` has another shape.

    Examples
    --------
    >>> grammar = english()
    >>> ids = grammar.encode("the dogs near the door sleep".split())
    >>> any_word = np.full((len(ids) - 1, len(grammar.words)), 1 / len(grammar.words))
    >>> between, share = agreement(grammar, ids, any_word)
    >>> between, share.round(2)  # after "dogs" and after "door"
    (array([0, 3]), array([0.33, 0.33]))
    """
    if grammar.states != english().states:
        raise ValueError("the grammar must be the one that english() makes")
    state, p = grammar.follow(ids)[1:-1], np.asarray(p, np.float64)  # before the words to come
    if p.shape != (len(state), len(grammar.words)):
        raise ValueError(
            f"p has shape {p.shape}, but must be {(len(state), len(grammar.words))}: the "
            "probability of each word of the grammar, after each word of the text but the last"
        )
    verbs = set(" ".join([*VERBS.values(), *TRANSITIVE.values(), *BE.values()]).split())
    is_verb = np.array([word in verbs for word in grammar.words])
    is_place = np.array([isinstance(s, tuple) and s[0] == "subject" for s in grammar.states])
    sentence = np.cumsum(state == grammar.states.index("sentence"))
    there = np.flatnonzero(is_place[state])
    _, first, which = np.unique(sentence[there], return_index=True, return_inverse=True)
    between = there - there[first][which]  # the first place is right after the noun
    fits = is_verb & (grammar.probabilities[state[there]] > 0)
    return between, p[there].sum(axis=1, where=fits) / p[there].sum(axis=1, where=is_verb)


def _shared(words: str, total: float, follows: State) -> dict[str, tuple[float, State]]:
    """Share a probability among words, the k-th getting a part that goes with 1 / k."""
    shares = 1 / np.arange(1, len(words.split()) + 1)
    shares *= total / shares.sum()
    return {word: (float(p), follows) for word, p in zip(words.split(), shares, strict=True)}


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """``- sum p ln p`` over the last axis."""
    total: NDArray[np.float64] = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
    return total


def _check(rules: Rules, start: State) -> None:
    """Check that these are the rules of one machine that can come back to every state."""
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
