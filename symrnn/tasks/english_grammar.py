"""A grammar of English-like sentences, in which verbs agree with subjects far away."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symrnn.tasks.grammar import Grammar, State
from symrnn.text.tokens import EOS

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


def english() -> Grammar:
    """Return a grammar of simple English sentences, each ending with ``<eos>``.

    For example "the small dogs near a door chase the cat because they are red". A verb agrees with
    its subject in number and in kind: dogs and girls sleep or chase, doors and cars break or open.
    Between the two there may be any number of other nouns ("the dog near the doors behind the boys
    ...") and of clauses with nouns of their own ("that the cats see"). A reason at the end has the
    subject's pronoun. So a model has to keep two facts over many words; one that sees a single word
    cannot know which verb comes.

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
        """Add rules for a determiner, perhaps an adjective, and a noun, and for what follows."""
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
    """Measure how well the verbs of a model of `english` agree with their subjects.

    Considered are all positions where the verb of a sentence may come. Of the probability that the
    model gives to verbs there, how much goes to those that agree with the subject in number and in
    kind? With the grammar's own probabilities it is 1.

    Parameters
    ----------
    grammar
        The grammar `english`.
    ids
        Ids of the words of a text since `start`, of shape ``(words,)``.
    p
        The model's probability of each word after each of them but the last, of shape
        ``(words - 1, len(grammar.words))``.

    Returns
    -------
    between : array of shape (positions,)
        How many words stand between the subject's noun and the position, int64. None is 0, "near
        the door" is 3; 1 and 2 do not occur.
    share : array of shape (positions,)
        Fraction of the verbs' probability that belongs to verbs that agree, float64.

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
    before_verb = np.array([isinstance(s, tuple) and s[0] == "subject" for s in grammar.states])
    sentence = np.cumsum(state == grammar.states.index("sentence"))
    positions = np.flatnonzero(before_verb[state])
    _, first, which = np.unique(sentence[positions], return_index=True, return_inverse=True)
    between = positions - positions[first][which]  # the first position is right after the noun
    agrees = is_verb & (grammar.probabilities[state[positions]] > 0)
    return between, p[positions].sum(axis=1, where=agrees) / p[positions].sum(axis=1, where=is_verb)


def _shared(words: str, total: float, follows: State) -> dict[str, tuple[float, State]]:
    """Distribute a probability among words, to the k-th in proportion to 1 / k."""
    shares = 1 / np.arange(1, len(words.split()) + 1)
    shares *= total / shares.sum()
    return {word: (float(p), follows) for word, p in zip(words.split(), shares, strict=True)}
