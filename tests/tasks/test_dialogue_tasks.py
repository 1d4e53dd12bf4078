from collections import Counter

import numpy as np
import pytest

from symrnn.tasks.bars import bars, best_log_likelihood
from symrnn.tasks.dialogues import (
    COLOURS,
    NAMES,
    REPLIES,
    chance_without_memory,
    choice_dialogues,
    is_right,
    memory_dialogues,
)

# bars


def test_a_bar_stands_where_and_as_high_as_is_said():
    images, place, height = bars(50, rng=np.random.default_rng(1), size=6, width=2)
    assert images.shape == (50, 6, 6)
    for image, p, h in zip(images, place, height, strict=True):
        expected = np.zeros((6, 6))
        expected[6 - h :, p : p + 2] = 1
        np.testing.assert_array_equal(image, expected)


def test_all_images_occur_equally_often_and_set_the_bound():
    images, _, _ = bars(4800, rng=np.random.default_rng(1))
    counts = Counter(image.tobytes() for image in images)
    assert len(counts) == 48
    assert best_log_likelihood() == pytest.approx(-np.log(len(counts)))
    chi_2 = sum((n - 100) ** 2 / 100 for n in counts.values())
    assert chi_2 < 47 + 4 * np.sqrt(2 * 47)


def test_what_is_no_bar_is_refused():
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="width is 9, but must be at most the size, 8"):
        bars(1, rng=rng, width=9)
    with pytest.raises(ValueError, match="n_samples is 0"):
        bars(0, rng=rng)
    with pytest.raises(TypeError, match="rng is 1"):
        bars(1, rng=1)


# dialogues


def test_the_last_reply_was_said_three_or_more_turns_before_and_nowhere_else():
    for dialogue in memory_dialogues(300, rng=np.random.default_rng(1)):
        *context, answer = dialogue
        assert answer in NAMES + COLOURS
        told = [k for k, utterance in enumerate(context) if answer in utterance.split()]
        assert len(told) == 1
        assert told[0] % 2 == 0  # the first speaker said it
        assert len(dialogue) - 1 - told[0] >= 3
        assert (answer in NAMES) == ("name" in context[-1])


def test_the_best_that_the_question_alone_allows_is_one_in_eight():
    """The most frequent answer to each question, counted; chance is what it is in the long run."""
    n = 40_000
    answers = {}
    for dialogue in memory_dialogues(n, rng=np.random.default_rng(1)):
        answers.setdefault(dialogue[-2], Counter())[dialogue[-1]] += 1
    assert sum(map(len, answers.values())) == 5 * 8
    best = sum(c.most_common(1)[0][1] for c in answers.values()) / n
    assert chance_without_memory() == 0.125
    assert 0.125 <= best < 0.125 + 0.02  # the most frequent of eight is above its share by chance


def test_each_subject_has_six_right_replies_all_drawn():
    seen = {}
    for dialogue in choice_dialogues(500, rng=np.random.default_rng(1)):
        *context, reply = dialogue
        assert is_right(context, reply)
        assert context[-1] == "tell me something ."
        seen.setdefault(context[0], set()).add(reply)
    assert sorted(map(len, seen.values())) == [6, 6, 6]
    assert {f"let us talk about {subject} ." for subject in REPLIES} == set(seen)


def test_what_belongs_to_another_subject_or_is_half_right_is_not_right():
    for subject, replies in REPLIES.items():
        asked = [f"let us talk about {subject} .", "oh .", "tell me something ."]
        for other, wrong in REPLIES.items():
            assert all(is_right(asked, r) == (other == subject) for r in wrong)
        first, second = (r.split() for r in replies[:2])
        assert is_right(asked, " ".join(first).replace(" .", "."))
        assert is_right([u.replace(" .", ".") for u in asked], " ".join(first))
        assert not is_right(asked, " ".join([*first[:2], *second[2:]]))
        assert not is_right(asked, "")
    with pytest.raises(ValueError, match="names none of the subjects animals, fruit, jobs"):
        is_right(["hello"], "oh .")
    with pytest.raises(ValueError, match="the dialogue is empty"):
        is_right([], "oh .")


@pytest.mark.parametrize("make", [memory_dialogues, choice_dialogues])
def test_dialogues_are_the_same_from_a_seed(make):
    a, b, c = (make(20, rng=np.random.default_rng(k)) for k in (1, 1, 2))
    assert a == b != c
    with pytest.raises(ValueError, match="n_dialogues is 0"):
        make(0, rng=np.random.default_rng(1))
    with pytest.raises(TypeError, match="rng is None"):
        make(3, rng=None)
