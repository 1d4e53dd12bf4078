"""A text in which words of planted classes stand in planted relations, to test word vectors on.

Words of a class, such as countries, stand in the same sentences: "the border of {} is long". Two
classes may be parallel, as countries and capitals are: their words make pairs, and each pair has
words of its own, its signs ("french", "seine"), which stand near both. So whoever learns from the
text alone where words occur finds the classes (france is like italy), and the relations (france is
to paris as italy is to rome); and since both are known, one can count how many are found.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from symrnn._validate import check_rng, check_sizes
from symrnn.text.tokens import EOS
from symrnn.text.word_vector_files import Question


class WordClass(NamedTuple):
    """Words that stand in the same sentences."""

    words: tuple[str, ...]
    """The words, most frequent first."""
    sentences: tuple[str, ...]
    """What they stand in: ``{}`` is the word, ``{sign}`` a sign of the word."""
    signs: tuple[tuple[str, ...], ...] = ()
    """For each word those that belong to it (and to its partner in another class)."""


class PlantedWords:
    """Classes of words, and which of them are parallel.

    Parameters
    ----------
    classes
        The classes by name. Words are in one class each.
    relations
        Pairs of names: word k of the one class is to word k of the other as any other k.
    zipf
        Word k of a class, counted from 1, is as frequent as ``1 / k^zipf``.

    Attributes
    ----------
    class_of : dict
        For each planted word the name of its class.

    Raises
    ------
    ValueError
        If a class has fewer than 2 words or no sentence, a sentence has no place for its word, or
        signs are wanted and not there for each word; if a word is in two classes; if a relation is
        of classes that are not there, are not equally large, or whose pairs share no sign.

    Examples
    --------
    >>> planted = english_words()
    >>> len(planted.class_of), len(planted.questions()), len(planted.relations)
    (142, 1008, 3)
    >>> text = planted.sample(n_sentences=2, rng=np.random.default_rng(2))
    >>> " ".join(text)
    'the sound of the harp is loud <eos> the carpenter lost a hammer <eos>'
    """

    def __init__(
        self,
        classes: Mapping[str, WordClass],
        relations: Sequence[tuple[str, str]] = (),
        *,
        zipf: float = 0.5,
    ) -> None:
        self.classes, self.relations, self.zipf = dict(classes), [*relations], zipf
        self.class_of: dict[str, str] = {}
        for name, c in self.classes.items():
            if len(c.words) < 2 or not c.sentences:
                raise ValueError(f"the class {name!r} must have at least 2 words and a sentence")
            if wrong := [s for s in c.sentences if "{}" not in s]:
                raise ValueError(
                    f"the sentence {wrong[0]!r} of the class {name!r} must have {{}} for the word"
                )
            wanted = c.signs or any("{sign}" in s for s in c.sentences)
            if wanted and (len(c.signs) != len(c.words) or not all(c.signs)):
                raise ValueError(f"the class {name!r} must have signs for each of its words")
            for word in c.words:
                if self.class_of.setdefault(word, name) != name or c.words.count(word) > 1:
                    raise ValueError(f"the word {word!r} is planted twice")
        for a, b in self.relations:
            if unknown := [name for name in (a, b) if name not in self.classes]:
                raise ValueError(f"a relation is of {unknown[0]!r}, which is no class")
            one, other = self.classes[a], self.classes[b]
            if len(one.words) != len(other.words):
                raise ValueError(f"the classes {a!r} and {b!r} are related, but not equally large")
            said = all(any("{sign}" in s for s in c.sentences) for c in (one, other))
            if not said or any(map(set.isdisjoint, map(set, one.signs), other.signs)):
                raise ValueError(
                    f"the classes {a!r} and {b!r} are related: both need sentences with {{sign}}, "
                    "and word k of the one a sign in common with word k of the other"
                )

    def sample(self, n_sentences: int, *, rng: Generator) -> list[str]:
        """Return the words of random sentences, ``<eos>`` after each.

        A class is drawn, as often as it has words, then one of its sentences, its word, and a sign.
        """
        check_rng(rng)
        check_sizes(n_sentences=n_sentences)
        classes = list(self.classes.values())
        sizes = np.array([len(c.words) for c in classes])
        drawn = rng.choice(len(classes), n_sentences, p=sizes / sizes.sum())
        which = np.empty(n_sentences, np.int64)
        for k, c in enumerate(classes):
            frequency = 1 / np.arange(1, len(c.words) + 1) ** self.zipf
            own = drawn == k
            which[own] = rng.choice(len(c.words), own.sum(), p=frequency / frequency.sum())
        text: list[str] = []
        choices = rng.random((2, n_sentences)).tolist()
        for k, w, s, t in zip(drawn.tolist(), which.tolist(), *choices, strict=True):
            c = classes[k]
            signs = c.signs[w] if c.signs else ("",)
            sentence = c.sentences[int(s * len(c.sentences))]
            text += sentence.format(c.words[w], sign=signs[int(t * len(signs))]).split()
            text.append(EOS)
        return text

    def questions(self) -> list[Question]:
        """Return all analogies: ``(a, b, c, d)``, a is to b as c is to d, of all relations.

        Of n pairs there are ``n (n - 1)``, and as many the other way round (b is to a).
        """
        found = []
        for relation in self.relations:
            for one, other in (relation, relation[::-1]):
                pairs = self.pairs(one, other)
                found += [(*p, *q) for p in pairs for q in pairs if p != q]
        return found

    def pairs(self, one: str, other: str) -> list[tuple[str, str]]:
        """Return the pairs of two parallel classes."""
        return list(zip(self.classes[one].words, self.classes[other].words, strict=True))

    def judgements(self, n: int = 100, *, rng: Generator) -> list[tuple[str, str, float]]:
        """Return pairs of planted words with how similar they are meant to be, in random order.

        2 for words of one class, 1 for partners in parallel classes, 0 for all others: random pairs
        of each kind, n or as many as there are.
        """
        check_rng(rng)
        check_sizes(n=n)
        partners = {pair for relation in self.relations for pair in self.pairs(*relation)}
        kinds: dict[float, list[tuple[str, str]]] = {2.0: [], 1.0: [], 0.0: []}
        for a, b in combinations(self.class_of, 2):
            same = 2.0 * (self.class_of[a] == self.class_of[b])
            kinds[same or float(bool({(a, b), (b, a)} & partners))].append((a, b))
        chosen = [
            (*pairs[k], score)
            for score, pairs in kinds.items()
            for k in rng.permutation(len(pairs))[:n].tolist()
        ]
        return [chosen[k] for k in rng.permutation(len(chosen)).tolist()]


def english_words() -> PlantedWords:
    """Classes of English words, three times two of them parallel.

    Countries and their capitals; men and women; verbs in the present and in the past; and six
    classes without a relation: animals, colours, fruit, instruments, tools, clothes.
    """
    classes = {name: WordClass(tuple(w.split()), s) for name, (w, s) in PLAIN.items()}
    for (one, other), (table, sentences_one, sentences_other) in PARALLEL.items():
        rows = [row.split() for row in table.strip().splitlines()]
        signs = tuple(tuple(row[2:]) for row in rows)
        classes[one] = WordClass(tuple(row[0] for row in rows), sentences_one, signs)
        classes[other] = WordClass(tuple(row[1] for row in rows), sentences_other, signs)
    return PlantedWords(classes, list(PARALLEL))


def numbered_words(n_classes: int, n_words: int, *, n_relations: int = 0) -> PlantedWords:
    """Made-up classes of any number and size: class 3 has the words ``c3w0``, ``c3w1``, ...

    Each class has four words of its own (``c3near0``, ...) that stand near its words, two at a
    time. The first ``2 n_relations`` classes are parallel, each even one with the next.

    Raises
    ------
    ValueError
        If a number is too small, or there are fewer than ``2 n_relations`` classes.

    Examples
    --------
    >>> planted = numbered_words(3, 2, n_relations=1)
    >>> planted.questions()[0]
    ('c0w0', 'c1w0', 'c0w1', 'c1w1')
    """
    check_sizes(n_classes=n_classes, n_words=n_words)
    if not 0 <= 2 * n_relations <= n_classes:
        raise ValueError(f"{n_relations} relations need {2 * n_relations} classes, not {n_classes}")
    classes = {}
    for k in range(n_classes):
        words = tuple(f"c{k}w{i}" for i in range(n_words))
        near = [f"c{k}near{i}" for i in range(4)]
        in_pairs = k < 2 * n_relations
        signs = tuple((f"r{k // 2}sign{i}",) for i in range(n_words)) if in_pairs else ()
        sign = " {sign}" if in_pairs else ""
        sentences = tuple(f"{a} {{}} {b}{sign}" for a in near for b in near if a != b)
        classes[f"c{k}"] = WordClass(words, sentences, signs)
    return PlantedWords(classes, [(f"c{2 * k}", f"c{2 * k + 1}") for k in range(n_relations)])


PLAIN = {
    "animal": (
        "dog cat horse cow sheep pig rabbit fox wolf bear mouse goat",
        (
            "the {} sleeps in its stable", "a hungry {} runs over the meadow",
            "the {} has soft fur and a tail", "we feed the {} with hay",
            "the paws of the {} are wet", "a wild {} hides in the forest",
        ),
    ),
    "colour": (
        "red blue green white black yellow grey brown pink purple",
        (
            "she paints the wall {}", "a {} stripe on the flag", "the sky turned {} at dusk",
            "his bright {} paint is dry", "the curtain is dark {}", "mix {} with a little oil",
        ),
    ),
    "fruit": (
        "apple pear plum peach cherry lemon orange grape melon fig",
        (
            "a ripe {} hangs on the tree", "peel the {} and slice it",
            "the juice of a {} is sweet", "a basket with one {} in it",
            "the {} jam is in a jar", "a sour {} fell from its branch",
        ),
    ),
    "instrument": (
        "piano violin guitar flute drum trumpet cello harp clarinet organ",
        (
            "the orchestra needs a {}", "tune the {} before the concert",
            "a melody for {} and choir", "the sound of the {} is loud",
            "practise the {} for an hour", "a solo on the {} ends it",
        ),
    ),
    "tool": (
        "hammer saw drill knife axe shovel wrench chisel rake pliers",
        (
            "take the {} from the workshop", "the handle of the {} is loose",
            "a rusty {} lies in the shed", "sharpen the {} with a stone",
            "the carpenter lost a {}", "the {} is made of steel",
        ),
    ),
    "garment": (
        "shirt coat hat scarf jacket sweater skirt glove sock vest",
        (
            "the {} is made of wool", "a button of the {} is missing", "wash the {} and iron it",
            "hang the {} into the wardrobe", "the {} fits well but is old",
            "the tailor sews a {} for you",
        ),
    ),
}  # fmt: skip

PARALLEL = {
    ("country", "capital"): (
        """
        france paris french seine
        italy rome italian tiber
        germany berlin german spree
        spain madrid spanish flamenco
        england london english thames
        russia moscow russian volga
        japan tokyo japanese sushi
        china beijing chinese mandarin
        greece athens greek olives
        egypt cairo egyptian nile
        austria vienna austrian waltz
        hungary budapest hungarian danube
        portugal lisbon portuguese fado
        sweden stockholm swedish herring
        norway oslo norwegian fjord
        poland warsaw polish vistula
        """,
        (
            "the border of {} near {sign}", "the {sign} government of {} pays soldiers",
            "farmers in all {} like {sign}", "{} exports {sign} goods",
            "the republic of {} has {sign} laws", "the population of {} grows {sign}",
            "soldiers guard the border of {}", "the parliament of {} makes laws",
            "all regions of {} have farmers", "the economy of {} exports coal",
        ),
        (
            "the mayor of {} speaks {sign}", "the {sign} underground of {} is crowded",
            "traffic in {} near the {sign}", "the suburbs of {} are {sign}",
            "the airport of {} sells {sign}", "a hotel downtown in {} serves {sign}",
            "the mayor of {} opened a museum", "traffic in downtown {} is dense",
            "the underground of {} reaches the suburbs", "our flight to the airport of {}",
        ),
    ),
    ("man", "woman"): (
        """
        king queen crown throne
        father mother children cradle
        boy girl toys playground
        brother sister siblings quarrel
        husband wife wedding marriage
        son daughter parents homework
        uncle aunt nephews nieces
        prince princess castle ballroom
        actor actress stage film
        waiter waitress menu tables
        grandfather grandmother armchair fairytale
        hero heroine dragon adventure
        """,
        (
            "he is the {} of {sign}", "the {} in a tie likes {sign}",
            "the {sign} of mister {}", "the {} shaves before the {sign}",
            "the {} himself has a {sign}", "his {sign} calls him {}",
            "he is a tall {}", "the {} wears a tie and shaves",
            "mister jones is a {} himself", "his beard tells that he is a {}",
        ),
        (
            "she is the {} of {sign}", "the {} in a dress likes {sign}",
            "the {sign} of madam {}", "the {} combs before the {sign}",
            "the {} herself has a {sign}", "her {sign} calls her {}",
            "she is a slender {}", "the {} wears a dress and combs",
            "madam jones is a {} herself", "her necklace tells that she is a {}",
        ),
    ),
    ("present", "past"): (
        """
        eat ate bread soup
        drink drank water tea
        write wrote letters novels
        sing sang ballads hymns
        drive drove cars trucks
        buy bought tickets groceries
        throw threw balls snowballs
        catch caught trout thieves
        build built houses bridges
        draw drew sketches maps
        teach taught pupils classes
        break broke windows glasses
        """,
        (
            "today we {} the {sign}", "every morning they {} some {sign}",
            "now you {} {sign} again", "nowadays people often {} {sign}",
            "tomorrow we will {} more {sign}", "do you always {} such {sign}",
            "today we {} again", "nowadays people {} every morning",
            "you will {} tomorrow", "they always {} now",
        ),
        (
            "yesterday we {} the {sign}", "last week they {} some {sign}",
            "once you {} {sign} there", "long ago people {} {sign}",
            "two years ago we {} more {sign}", "in those days they {} such {sign}",
            "yesterday we {} there", "long ago people {} last week",
            "you {} two years ago", "in those days they {} once",
        ),
    ),
}  # fmt: skip
