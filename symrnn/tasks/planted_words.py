"""Texts with planted word classes and relations, to test word vectors on.

Words of a class, such as countries, occur in the same sentences: "the border of {} is long". Two
classes may be parallel, as countries and capitals are: their words form pairs, and each pair has
words of its own, its signs ("french", "seine"), which occur near both. So whoever learns from the
text alone where words occur finds the classes (france is like italy) and the relations (france is
to paris as italy is to rome); and since both are known, one can count how many are found.

`symrnn.tasks.english_words` has classes of English words.
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
    """Words that occur in the same sentences."""

    words: tuple[str, ...]
    """The words, most frequent first."""
    sentences: tuple[str, ...]
    """Their sentences: ``{}`` is the word, ``{sign}`` a sign of the word."""
    signs: tuple[tuple[str, ...], ...] = ()
    """For each word its signs, which it shares with its partner in a parallel class."""


class PlantedWords:
    """Classes of words, some of them parallel, and the texts that are made of them.

    Parameters
    ----------
    classes
        The classes by name. Each has at least two words and a sentence, and a word is in one class
        only.
    relations
        Pairs of names of parallel classes, which are equally large: word k of the one is to word k
        of the other as any other k, and shares a sign with it.
    zipf
        Word k of a class, counted from 1, is as frequent as ``1 / k^zipf``.

    Attributes
    ----------
    class_of : dict
        The name of the class of each planted word.

    Examples
    --------
    >>> from symrnn.tasks.english_words import english_words
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
                raise ValueError(f"a relation is of {unknown[0]!r}, which is not a class")
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

        For each sentence a class is drawn, in proportion to its number of words, then one of its
        sentences, words and signs.
        """
        check_rng(rng)
        check_sizes(n_sentences=n_sentences)
        classes = list(self.classes.values())
        sizes = np.array([len(c.words) for c in classes])
        drawn = rng.choice(len(classes), n_sentences, p=sizes / sizes.sum())
        which = np.empty(n_sentences, np.int64)
        for k, c in enumerate(classes):
            frequency = 1 / np.arange(1, len(c.words) + 1) ** self.zipf
            of_class = drawn == k
            p = frequency / frequency.sum()
            which[of_class] = rng.choice(len(c.words), of_class.sum(), p=p)
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
        """Return the analogies of all relations: ``(a, b, c, d)``, a is to b as c is to d.

        n pairs make ``n (n - 1)`` of them, and as many in the other direction (b is to a).
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
        """Return pairs of planted words and how similar they are by design, in random order.

        2 for words of one class, 1 for partners in parallel classes, 0 for all others. Of each kind
        n pairs are drawn, or all if there are fewer.
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


def numbered_words(n_classes: int, n_words: int, *, n_relations: int = 0) -> PlantedWords:
    """Return artificial classes of any number and size: class 3 has ``c3w0``, ``c3w1``, ...

    Each class has four words of its own (``c3near0``, ...) that occur near its words, two at a
    time. The first ``2 n_relations`` classes are parallel, each even one with the next.

    Parameters
    ----------
    n_classes, n_words
        Number of classes, and of words in each.
    n_relations
        Number of pairs of parallel classes, at most ``n_classes / 2``.

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
