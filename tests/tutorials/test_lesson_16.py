from itertools import pairwise

import numpy as np
import pytensor
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

lesson = load_lesson("16")


def test_the_quick_run_prints_and_draws_all_parts(quick):
    found, printed, folder = quick
    assert sorted(p.stem for p in folder.iterdir()) == ["16_comparison", "16_positions"]
    for part in range(1, 5):
        assert f"{part}. " in printed
    assert max(map(len, printed.splitlines())) < 200
    assert [*found["runs"]] == ["reversed + peeky", lesson.BETTER]


def test_the_batch_that_is_shown_holds_the_sums(quick):
    both, (source, source_mask, target, target_mask) = quick[0]["both"], quick[0]["batch"]
    for k, (asked, answer) in enumerate(lesson.EXAMPLES):
        n = len(asked)
        assert "".join(both.source.decode(source[:n, k])) == asked
        assert source_mask[:, k].tolist() == [True] * n + [False] * (len(source) - n)
        assert both.answer(target[:, k]) == answer
        assert target_mask[:, k].sum() == len(answer) + 1  # <eos>


def test_padding_changes_no_number_with_a_mask_but_does_without(quick):
    alone, batch, unmasked = quick[0]["hand"]["padding"]
    np.testing.assert_allclose(batch, alone, rtol=1e-6)
    assert (np.abs(unmasked - alone)[:2] > 1e-3).all()
    assert unmasked[2] == pytest.approx(alone[2], rel=1e-6)  # the longest is not padded


def test_the_scan_ends_after_the_longest_answer_and_equals_the_loop(quick):
    hand = quick[0]["hand"]
    np.testing.assert_array_equal(hand["scan"], hand["loop"])
    ended = (hand["scan"] == 0).argmax(axis=0)  # <eos> has the id 0
    assert (hand["scan"] == 0).any(axis=0).all()
    assert len(hand["scan"]) == ended.max() + 1 < 10


def test_the_model_of_the_library_with_these_weights_has_the_same_loss(quick):
    mine, theirs = quick[0]["hand"]["losses"]
    assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(("reverse", "said"), [(False, "3 and 7"), (True, "1 and 5")])
def test_reversing_brings_the_first_digit_nearer_and_leaves_the_mean(capsys, reverse, said):
    lesson.distances()
    line = capsys.readouterr().out.splitlines()[2 + reverse]
    assert said in line
    assert line.split()[-1] == "5"
    read = "654+321" if reverse else "123+456"
    written = {8: "14", 9: "25", 10: "36"}  # 579 is written at steps 8, 9 and 10
    steps = [step - 1 - read.index(c) for step, digits in written.items() for c in digits]
    assert np.mean(steps) == 5
    assert " and ".join(map(str, sorted(steps[:2]))) == said


def test_positions_are_counted_among_answers_that_are_right_so_far():
    targets, answers = ["123", "123", "45", "6"], ["123", "193", "7", "66"]
    # first characters: 3 of 4; second: 1 of 2; third: 1 of 1
    np.testing.assert_allclose(lesson.right_by_position(answers, targets), [3 / 4, 1 / 2, 1])


def test_the_first_epoch_above_a_share_counts_from_one():
    assert lesson.first_above(np.array([0.1, 0.5, 0.4, 0.9]), 0.5) == 2
    assert lesson.first_above(np.array([0.1, 0.5]), 0.6) is None


def test_a_net_that_is_started_anew_repeats_its_training(quick):
    found = quick[0]
    net, data = found["net"], found["data"]
    setting = lesson.SMALL._replace(epochs=1)  # the net itself is that of the quick run
    with pytensor.config.change_flags(floatX="float32"):
        first, other, again = (net.train(data, setting, seed, "again") for seed in (1, 2, 1))
    assert first.wrong == again.wrong
    np.testing.assert_array_equal(first.losses, again.losses)
    assert not np.allclose(first.losses, other.losses)


def test_options_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(OptionError, match="--n-seeds"):
        run_lesson(lesson, tmp_path, n_seeds=0)
    with pytest.raises(OptionError, match="--full"):
        run_lesson(lesson, tmp_path, quick=True, full=True)


@pytest.mark.slow
@pytest.mark.numba
def test_reversing_and_peeking_help_in_the_usual_setting(tmp_path, monkeypatch):
    """Numbers of up to 3 digits, 45,000 to learn from, 5,000 asked, 16 of the 25 epochs."""
    monkeypatch.setattr(lesson, "FULL", lesson.FULL._replace(epochs=16))
    found, _ = run_lesson(lesson, tmp_path, full=True)
    plain, reversed_, peeky, better = (run for (run,) in found["runs"].values())
    for worse, run in pairwise((plain, reversed_, peeky)):
        assert worse.accuracy[:10].mean() + 0.01 < run.accuracy[:10].mean()
    assert np.median(peeky.accuracy[-3:]) >= 0.98  # a single epoch may fall back, as Adam's do
    assert better.accuracy[-1] >= 0.995
    # 22 epochs against 6 when it was measured; rounding alone (a cold or a warm cache) moves both
    peeky_takes = lesson.first_above(peeky.accuracy, 0.995) or 17
    assert 2 * lesson.first_above(better.accuracy, 0.995) <= peeky_takes
