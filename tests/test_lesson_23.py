import numpy as np
import pytensor
import pytest
from conftest import load_lesson, run_lesson

from symrnn.lessons import OptionError

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


def test_a_training_starts_from_the_first_weights(quick):
    found, *_ = quick
    learner, plan = found["learners"]["machine"], found["plan"]
    with pytensor.config.change_flags(floatX="float32"):
        again = lesson.train_on(learner, "again", plan, 1, plan.steps, repeats=False)
    np.testing.assert_array_equal(again.loss, found["runs"]["machine"].loss)


def test_pictures_have_the_shapes_of_one_sequence(quick):
    n = lesson.SMALL.n_bits
    for length, (x, t, p, write, read) in quick[0]["runs"]["machine"].pictures.items():
        assert x.shape == (2 * length + 1, n + 1)
        assert t.shape == (length, n)
        assert p.shape == (2 * length + 1, n)
        assert write.shape == read.shape == (2 * length + 1, lesson.SMALL.n_slots)


def test_options_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(OptionError, match="--steps"):
        run_lesson(lesson, tmp_path, steps=0)


@pytest.mark.slow
def test_the_machine_copies_twice_the_length_that_it_has_learnt(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    machine, lstm = found["runs"]["machine"], found["runs"]["LSTM"]
    assert found["learners"]["LSTM"].n_weights > found["learners"]["machine"].n_weights
    assert found["plan"].longest == 20
    assert machine.wrong[20] < 0.01
    assert machine.wrong[40] <= 0.05
    assert lstm.wrong[20] > 0.2
    assert lstm.wrong[40] > 0.3
