from collections import Counter
from itertools import product

import numpy as np
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

lesson = load_lesson("09")


def test_the_quick_run_draws_and_prints_all_parts(quick):
    found, printed, folder = quick
    assert sorted(p.name for p in folder.iterdir()) == ["09_once.png", "09_side_by_side.png"]
    for part in range(1, 4):
        assert f"{part}. " in printed
    assert f"{found['best'][0]:.4f}" in printed


def test_a_gru_has_three_quarters_of_the_weights(quick):
    cells = quick[0]["cells"]
    output, more_bias = 16 + 1, 16
    assert cells["LSTM"]["weights"] - output == 4 * 16 * (2 + 16 + 1)
    assert cells["GRU"]["weights"] - output == 3 * 16 * (2 + 16 + 1) + more_bias


def test_with_a_mask_each_sequence_is_read_as_if_it_were_alone(quick):
    assert quick[0]["lengths"]["difference"] < 1e-6


def test_labels_say_which_letters_occur_once():
    x, mask, t = lesson.once(np.random.default_rng(0), 30, 12)
    assert mask.all()
    for k in range(30):
        letters = x[:, k].argmax(axis=1)
        count = Counter(letters.tolist())
        assert t[:, k].tolist() == [count[letter] == 1 for letter in letters.tolist()]


def test_the_text_of_the_picture_has_letters_that_occur_once():
    t = lesson.labels(lesson.one_hot(lesson.TEXT))[:, 0]
    once = [letter for letter, is_once in zip(lesson.TEXT, t, strict=True) if is_once]
    assert once == ["j", "b", "c"]


def test_the_bound_equals_that_of_counting_all_sequences(monkeypatch):
    monkeypatch.setattr(lesson, "N_LETTERS", 4)
    n_steps = 5
    counts = {}  # what was read so far -> how often which label of the last letter read
    for letters in product(range(4), repeat=n_steps):
        for k in range(n_steps):
            once = letters.count(letters[k]) == 1
            counts.setdefault(letters[: k + 1], [0, 0])[once] += 1
    nats = share = 0.0
    for pair in counts.values():
        p = np.array(pair) / sum(pair)
        nats -= sum(pair) * sum(q * np.log(q) for q in p if q)
        share += min(pair)
    best = lesson.best_in_one_direction(n_steps)
    np.testing.assert_allclose(best, np.array([nats, share]) / (n_steps * 4**n_steps))


def test_options_that_cannot_be_used_are_named(tmp_path):
    for options in ({"n_steps": 1}, {"n_seeds": 0}, {"n_updates": 0}):
        (name,) = options
        with pytest.raises(OptionError, match="--" + name.replace("_", "-")):
            run_lesson(lesson, tmp_path, **options)


@pytest.mark.slow
@pytest.mark.numba
def test_the_gru_equals_the_lstm_and_two_directions_beat_the_bound_of_one(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    for name, row in found["cells"].items():
        for error in row["error"]:
            assert error > 0.1 if name == "Elman" else error < 0.01
    nats, share = found["best"]
    for name in ("from the left", "from the right"):
        way = found["ways"][name]
        assert nats - 0.005 < way["nats"] < nats + 0.03  # 40,000 labels: not below, up to chance
        assert share - 0.005 < way["wrong"] < share + 0.02
    assert found["ways"]["both"]["nats"] < nats / 10
    assert found["ways"]["both"]["wrong"] < 0.01
    with_, without = found["lengths"]["with mask"], found["lengths"]["without mask"]
    assert max(with_) < 0.02
    assert without[0] > 0.1 > 0.02 > without[1]
    assert found["lengths"]["difference"] < 1e-5
