import numpy as np
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

from symrnn.compiling.modes import QUICK
from symrnn.tasks.dialogues import REPLIES, chance_without_memory, is_right

lesson = load_lesson("21")


def test_the_quick_run_prints_and_draws_all_parts(quick):
    found, printed, folder = quick
    assert sorted(p.stem for p in folder.iterdir()) == ["21_replies"]
    for part in range(1, 5):
        assert f"{part}. " in printed
    assert max(map(len, printed.splitlines())) < 120
    assert [*found["choosing"]] == ["VHRED"]


def test_three_loops_by_hand_are_the_library(quick):
    loops = quick[0]["loops"]
    assert loops["by hand"] == pytest.approx(loops["library"], rel=1e-12)


def test_greedy_replies_to_one_context_are_all_the_same(quick):
    for (_, way), of_subject in quick[0]["said"].items():
        for counts in of_subject.values():
            assert counts.total() == lesson.PLANS["quick"].n_draws
            assert len(counts) == 1 or way != "greedy"


def test_a_mistake_in_a_file_is_told_with_its_line(quick):
    reading = quick[0]["reading"]
    assert reading["message"].startswith("mistake.txt, line 8: the dialogue has one utterance")
    assert reading["shapes"] == {None: (7, 3, 2), 2: (7, 2, 3)}


@pytest.mark.slow
def test_hred_remembers_and_vhred_has_several_replies(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    accuracy = {name: run.accuracy[-1] for name, run in found["remembering"].items()}
    n = lesson.PLANS["default"].n_test
    assert accuracy["HRED"] >= 0.95
    assert accuracy["VHRED"] >= 0.95
    chance = chance_without_memory()
    assert abs(accuracy["seq2seq"] - chance) < 4 * np.sqrt(chance * (1 - chance) / n)
    for subject in REPLIES:
        context = [f"let us talk about {subject} .", "good idea .", "tell me something ."]

        def distinct(*key, subject=subject, context=context):
            return sum(is_right(context, reply) for reply in found["said"][key][subject])

        assert distinct("HRED", "greedy") == 1
        assert distinct("VHRED", "z drawn") >= 3
    assert found["choosing"]["HRED"].accuracy[-1] == 1
    assert found["choosing"]["seq2seq"].accuracy[-1] < 0.5


def test_a_file_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "one.txt").write_text("alone\n")
    for name, message in (("one.txt", "line 1: the dialogue has one"), ("none.txt", "none.txt")):
        with pytest.raises(OptionError, match=f"--file: .*{message}"):
            lesson.learn_file(str(tmp_path / name), 1, lesson.PLANS["quick"], 1, QUICK)


@pytest.mark.slow
def test_long_utterances_of_a_file_are_cut_and_that_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lesson, "LONGEST", 4)
    path = tmp_path / "talk.txt"
    path.write_text(lesson.TALK)
    said = lesson.learn_file(str(path), 1, lesson.PLANS["quick"], 1, QUICK)
    assert [utterance for utterance, _ in said] == ["Hello .", "Hello , who are you ?"]
    assert "2 of 5 utterances have more than 4 tokens" in capsys.readouterr().out


@pytest.mark.slow
def test_dialogues_of_a_file_are_learnt(tmp_path, capsys):
    path = tmp_path / "talk.txt"
    path.write_text(lesson.TALK)
    said = lesson.learn_file(str(path), 150, lesson.PLANS["default"], 1, QUICK)
    assert said == [("Hello .", "Hello, who are you?"), ("Hello , who are you ?", "I am Ann.")]
    assert "talk.txt: 16 words" in capsys.readouterr().out
