import numpy as np
import pytest
from conftest import load_lesson, run_lesson

lesson = load_lesson("23")


def test_the_quick_run_prints_and_draws_all_parts(quick):
    found, printed, folder = quick
    drawn = {p.stem for p in folder.iterdir()}
    assert {"23_addressing", "23_training", "23_repeat_copy"} < drawn
    assert sum(name.startswith("23_copy_") for name in drawn) == len(lesson.SMALL.lengths)
    for part in range(1, 6):
        assert f"{part}. " in printed
    assert [*found["runs"]] == ["machine"]


def test_a_head_goes_where_the_key_fits_and_one_on(quick):
    found = quick[0]["weightings"]
    assert [int(w.argmax()) for w in found.values()] == [0, 3, 3, 4, 4]
    assert found["sharpened"].max() > found["shift"].max()
    for w in found.values():
        assert w.sum() == pytest.approx(1)


def test_the_copy_by_hand_has_no_wrong_bit(quick):
    assert quick[0]["error"] == 0
    vectors = np.random.default_rng(3).normal(size=(4, 3))
    r, w_write, w_read = lesson.copy_by_hand(vectors, 6)
    np.testing.assert_array_equal(r[4:], vectors)
    np.testing.assert_array_equal(w_write.argmax(axis=1), [1, 2, 3, 4, 4, 4, 4, 4])
    np.testing.assert_array_equal(w_read.argmax(axis=1), [0, 0, 0, 0, 1, 2, 3, 4])


def test_pictures_have_the_shapes_of_one_sequence(quick):
    n = lesson.SMALL.n_bits
    for length, (x, t, p, write, read) in quick[0]["runs"]["machine"].pictures.items():
        assert x.shape == (2 * length + 1, n + 1)
        assert t.shape == (length, n)
        assert p.shape == (2 * length + 1, n)
        assert write.shape == read.shape == (2 * length + 1, lesson.SMALL.n_slots)


@pytest.mark.slow
def test_the_machine_copies_twice_the_length_that_it_has_learnt_and_several_times_over(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    machine, lstm = found["runs"]["machine"], found["runs"]["LSTM"]
    assert found["learners"]["LSTM"].n_weights > found["learners"]["machine"].n_weights
    assert found["plan"].copies[-1].longest == 20
    assert machine.wrong[20] < 0.01
    assert machine.wrong[40] <= 0.05
    assert lstm.wrong[20] > 0.2
    assert lstm.wrong[40] > 0.3
    repeated = found["repeated"].wrong
    assert repeated[5, 5] < 0.05
    # twice as many vectors as it was trained on: 1 to 2 % on the machines where it was measured
    # first, 42 % on one that rounds differently; so only that it is better than guessing
    assert repeated[10, 5] < 0.5
