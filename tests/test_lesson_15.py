import re

import numpy as np
import pytest
from conftest import load_lesson, run_lesson

from symrnn.tasks.grammar import english

lesson = load_lesson("15")


def test_a_step_at_a_time_by_hand_writes_what_the_writer_writes(quick):
    found, printed, _ = quick  # the lesson itself compares the texts
    assert len(found["by_hand"]) == 12
    assert " ".join(found["by_hand"]) in printed


def test_samples_are_shown_before_during_and_after_training(quick):
    found, printed, folder = quick
    assert [*found["watched"]] == [0, 2, 10]
    lines = re.findall(r"step +(\d+)  perplexity +([\d.]+) +([\d.]+) % of (\d+) sentences", printed)
    for (step, watched), line in zip(found["watched"].items(), lines, strict=True):
        judged = watched["judged"]
        assert (int(line[0]), int(line[3])) == (step, len(judged))
        assert float(line[1]) == pytest.approx(watched["perplexity"], abs=0.006)
        assert float(line[2]) == pytest.approx(lesson.share(judged), abs=0.06)
    perplexities = [w["perplexity"] for w in found["watched"].values()]
    assert perplexities[0] == pytest.approx(52, abs=1)
    assert perplexities[-1] < 48
    assert [*found["samples"]] == [0, 15]
    assert found["samples"][0][0] > found["samples"][15][0]
    assert sorted(p.name for p in folder.iterdir()) == [
        "15_distributions.png",
        "15_surprise.png",
        "15_tradeoff.png",
        "15_training.png",
    ]


def test_the_surprise_of_a_text_is_the_beams_score(quick):
    found = quick[0]
    width = max(found["beams"], key=lambda width: found["beams"][width][1])
    text, p = found["surprise"][f"beam of {width}"]
    assert text == found["beams"][width][0]
    assert np.log(p).sum() == pytest.approx(found["beams"][width][1], rel=1e-4)
    assert found["beams"][1][0] == found["greedy"][: len(found["beams"][1][0])]


def test_only_whole_sentences_are_judged_and_each_by_the_grammar():
    judged = lesson.accepted(
        english(), "the dogs sleep\nthe dogs sleeps\nthe door falls today\n\nthe"
    )
    assert judged == [
        ("the dogs sleep", True),
        ("the dogs sleeps", False),
        ("the door falls today", True),
        ("", False),
    ]
    assert lesson.share(judged) == 50
    assert np.isnan(lesson.share([]))


@pytest.mark.parametrize(
    ("written", "expected"),
    [("x yes no yes no yes no", 7), ("aaaa", 1), ("abcabcab", 0), ("abcabcabc", 3), ("", 0)],
)
def test_a_circle_is_what_the_end_repeats_three_times(written, expected):
    assert lesson.period(written) == expected


@pytest.mark.slow
def test_the_full_lesson_shows_what_its_text_says(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    shares = [lesson.share(w["judged"]) for w in found["watched"].values()]
    assert shares[0] == 0
    assert shares[-1] > 94
    assert found["watched"][1000]["perplexity"] < 1.03 * english().perplexity
    hot = {value: right for value, right, _ in found["tradeoff"]["temperature"]}
    assert hot[0.3] > 98 > 85 > hot[1.7]
    assert found["tradeoff"]["top-k"][0][2] < 75  # few words are left, and few sentences
    nucleus = {value: (right, different) for value, right, different in found["tradeoff"]["top-p"]}
    assert nucleus[0.9][0] > 98
    assert nucleus[0.9][1] > 90
    assert found["samples"][1500][0] < 1.9
    assert found["circle"] > 0
    assert found["apart"][-1] < 0.01 * found["apart"][0]
    loss = [-np.log(p).mean() for _, p in found["surprise"].values()]  # the beam's comes last
    assert loss == sorted(loss, reverse=True)
