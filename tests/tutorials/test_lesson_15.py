import re

import numpy as np
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

import symrnn as sr
from symrnn.tasks.english_grammar import english
from symrnn.text import Characters, Vocabulary

lesson = load_lesson("15")


def test_a_step_at_a_time_by_hand_generates_what_the_generator_does(quick):
    found, printed, _ = quick  # the lesson itself compares the texts
    assert len(found["by_hand"]) == 12
    assert " ".join(found["by_hand"]) in printed


def test_samples_are_shown_before_during_and_after_training(quick):
    found, printed, folder = quick
    assert [*found["watched"]] == [0, 10]
    lines = re.findall(
        r"step +(\d+)  perplexity +([\d.]+) .*\n +([\d.]+) % of (\d+) sentences", printed
    )
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
    assert "best possible perplexity for these words is " + f"{found['best']:.2f}" in printed
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


def test_only_right_sentences_count_as_different_and_only_the_first_hundred():
    judged = [("a", True), ("b", False), ("a", True), ("c", True), ("d", False)]
    assert lesson.right_and_different(judged) == (60, pytest.approx(200 / 3))
    assert lesson.right_and_different([(str(k % 50), True) for k in range(300)]) == (100, 50)
    assert lesson.right_and_different([("b", False)]) == (0, 0)


def test_the_verb_that_fits_is_that_of_the_subject(monkeypatch):
    """A model that goes by the last noun has all verbs right at once, and none over a distance."""

    def by_the_last_noun(generator, prompt, verb):
        plural = prompt.split()[-1].endswith("s")
        return float(verb == ("are" if plural else "is"))

    monkeypatch.setattr(lesson, "fit", by_the_last_noun)
    assert lesson.verbs_that_fit(None) == (100, 0)


def test_a_prompt_with_a_character_that_no_text_has_is_refused_before_any_work(tmp_path):
    for prompt in ("", "The \u2603"):
        with pytest.raises(OptionError, match="--prompt"):
            run_lesson(lesson, tmp_path, quick=True, prompt=prompt)


def test_the_loss_by_streams_is_that_of_each_read_by_itself():
    rng = np.random.default_rng(1)
    model = sr.LanguageModel(5, 3, 4, rng=rng)
    ids = rng.integers(5, size=lesson.BATCH * 60 + 1)
    generator = sr.TextGenerator(model, Vocabulary("abcde"), Characters())
    streams = [ids[60 * k : 60 * k + 61] for k in range(lesson.BATCH)]
    p = [
        lesson.read(generator, "abcde"[s[0]], "".join("abcde"[i] for i in s[1:]))[0]
        for s in streams
    ]
    loss = lesson.compile_loss(model)
    assert loss(ids) == pytest.approx(-np.log(p).mean(), rel=1e-5)
    assert loss(ids) == loss(ids)  # the states begin at zero again


@pytest.mark.parametrize(
    ("written", "expected"),
    [("x yes no yes no yes no", 7), ("aaaa", 1), ("abcabcab", 0), ("abcabcabc", 3), ("", 0)],
)
def test_a_loop_is_what_the_end_repeats_three_times(written, expected):
    assert lesson.loop_length(written) == expected


@pytest.mark.slow
def test_the_full_lesson_shows_what_its_text_says(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    shares = [lesson.share(w["judged"]) for w in found["watched"].values()]
    assert shares[0] == 0
    assert shares[-1] > 94
    assert found["watched"][1000]["perplexity"] < 1.03 * found["best"]
    at_once, distant = zip(*(w["fits"] for w in found["watched"].values()), strict=True)
    assert distant[3] < 50 < at_once[3]  # after 100 steps the last noun decides
    assert min(at_once[-1], distant[-1]) > 90
    hot = {value: right for value, right, _ in found["tradeoff"]["temperature"]}
    assert hot[0.3] > 98 > 85 > hot[1.7]
    assert found["tradeoff"]["top-k"][0][2] < 80  # few words are left, and few sentences
    nucleus = {value: (right, different) for value, right, different in found["tradeoff"]["top-p"]}
    assert nucleus[0.9][0] > 98
    assert nucleus[0.9][1] > 90
    assert found["reference"] == (100, pytest.approx(95, abs=5))
    assert found["samples"][1500][0] < 1.9
    assert found["loop_length"] > 0
    assert found["apart"][-1] < 0.01 * found["apart"][0]
    assert found["beams"][64][1] > found["beams"][1][1]
    by_people, drawn, nucleus, greedy, beam = (
        -np.log(p).mean() for _, p in found["surprise"].values()
    )
    assert by_people > drawn > nucleus > greedy >= beam
