from collections import Counter

import numpy as np
import pytest

from symrnn.tasks.english_words import english_words
from symrnn.tasks.planted_words import PlantedWords, WordClass, numbered_words

ONE = WordClass(("a", "b"), ("x {} {sign}",), (("p",), ("q",)))
OTHER = WordClass(("c", "d"), ("y {} {sign}",), (("p",), ("q",)))


@pytest.mark.parametrize("planted", [english_words(), numbered_words(5, 4, n_relations=2)])
def test_each_sentence_has_one_planted_word_and_belongs_to_its_class(planted):
    text = " ".join(planted.sample(3000, rng=np.random.default_rng(1))).split(" <eos>")
    assert text.pop() == ""
    assert len(text) == 3000
    counts = Counter()
    for sentence in map(str.split, text):
        (word,) = (w for w in sentence if w in planted.class_of)
        c = planted.classes[planted.class_of[word]]
        signs = c.signs[c.words.index(word)] if c.signs else ("",)
        possible = [s.format(word, sign=sign).split() for s in c.sentences for sign in signs]
        assert sentence in possible
        counts[word] += 1
    assert set(counts) == set(planted.class_of)


def test_words_are_as_frequent_as_said():
    planted, n = english_words(), 40_000
    counts = Counter(planted.sample(n, rng=np.random.default_rng(1)))
    for c in planted.classes.values():
        share = 1 / np.sqrt(np.arange(1, len(c.words) + 1))
        expected = n * len(c.words) / len(planted.class_of) * share / share.sum()
        found = [counts[word] for word in c.words]
        np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(expected.max()))


def test_a_seed_gives_the_same_text_again():
    one, two, other = (english_words().sample(50, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert one == two != other


def test_questions_are_all_ordered_pairs_both_ways():
    planted = PlantedWords({"one": ONE, "other": OTHER}, [("one", "other")])
    assert set(planted.questions()) == {
        ("a", "c", "b", "d"), ("b", "d", "a", "c"), ("c", "a", "d", "b"), ("d", "b", "c", "a"),
    }  # fmt: skip
    rng = np.random.default_rng(1)
    assert {(a, b): s for a, b, s in planted.judgements(rng=rng)} == {
        ("a", "b"): 2, ("a", "c"): 1, ("b", "c"): 0, ("a", "d"): 0, ("b", "d"): 1, ("c", "d"): 2,
    }  # fmt: skip
    assert sorted(s for *_, s in english_words().judgements(50, rng=rng)) == [
        *50 * [0],
        *40 * [1],
        *50 * [2],
    ]


def test_signs_are_shared_by_partners_alone():
    planted = english_words()
    for one, other in planted.relations:
        assert planted.classes[one].signs == planted.classes[other].signs
    signs = Counter(
        sign for one, _ in planted.relations for own in planted.classes[one].signs for sign in own
    )
    assert set(signs.values()) == {1}
    frames = {w for c in planted.classes.values() for s in c.sentences for w in s.split()}
    assert not signs.keys() & (frames | planted.class_of.keys())
    assert not frames & planted.class_of.keys()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PlantedWords({"one": ONE._replace(words=("a",))}), "at least 2 words"),
        (lambda: PlantedWords({"one": ONE._replace(sentences=())}), "and a sentence"),
        (lambda: PlantedWords({"one": ONE._replace(signs=())}), "must have signs"),
        (lambda: PlantedWords({"one": ONE._replace(signs=(("p",),))}), "must have signs"),
        (lambda: PlantedWords({"one": ONE._replace(signs=(("p",), ()))}), "must have signs"),
        (
            lambda: PlantedWords({"one": WordClass(("a", "b"), ("x {}", "x y"))}),
            r"'x y' of the class 'one' must have \{\}",
        ),
        (lambda: PlantedWords({"one": ONE}, [("one", "two")]), "'two', which is not a class"),
        (
            lambda: PlantedWords(
                {"one": ONE, "two": WordClass(("c", "d"), ("y {}",))}, [("one", "two")]
            ),
            "'one' and 'two' are related: both need sentences",
        ),
        (
            lambda: PlantedWords(
                {"one": ONE, "two": OTHER._replace(signs=OTHER.signs[::-1])}, [("one", "two")]
            ),
            "a sign in common",
        ),
        (lambda: PlantedWords({"one": ONE, "two": ONE}), "'a' is planted twice"),
        (lambda: PlantedWords({"one": ONE._replace(words=("a", "a"))}), "'a' is planted twice"),
        (
            lambda: PlantedWords(
                {"one": ONE, "two": OTHER._replace(words=tuple("cde"), signs=3 * (("p",),))},
                [("one", "two")],
            ),
            "not equally large",
        ),
        (lambda: numbered_words(3, 2, n_relations=2), "2 relations need 4 classes"),
        (lambda: numbered_words(0, 2), "n_classes is 0"),
        (lambda: english_words().sample(0, rng=np.random.default_rng(1)), "n_sentences is 0"),
    ],
)
def test_what_cannot_be_planted_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()
