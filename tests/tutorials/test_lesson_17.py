from collections import Counter
from datetime import date

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

from symrnn.compiling.modes import QUICK
from symrnn.models.seq2seq.model import Seq2Seq
from symrnn.models.seq2seq.translation import Answer
from symrnn.tasks.dates import FORMATS, MONTHS, dates, write_date

lesson = load_lesson("17")


def test_the_quick_run_draws_and_prints_all_parts(quick):
    found, printed, folder = quick
    assert sorted(p.name for p in folder.iterdir()) == ["17_maps.png", "17_strip.png"]
    for part in range(1, 7):
        assert f"\n{part}. " in "\n" + printed
    assert max(map(len, printed.splitlines())) < 120
    assert len(found["trained"].accuracy) == 1


def test_weights_of_the_example_are_shares_of_exponentials(quick):
    example = quick[0]["example"]
    e = np.array([np.e**2, 1 / np.e, np.e])
    np.testing.assert_allclose(example["weights"], e / e.sum())
    np.testing.assert_allclose(example["context"], [(e[0] + e[2]) / e.sum(), e[1:].sum() / e.sum()])
    np.testing.assert_allclose(example["masked"], [e[0] / e[:2].sum(), e[1] / e[:2].sum(), 0])


def test_the_scaled_score_has_the_logarithms_of_dot_divided(quick):
    dot, scaled = (np.log(quick[0]["scores"][name]) for name in ("dot", "scaled"))
    np.testing.assert_allclose(np.diff(scaled), np.diff(dot) / np.sqrt(2))
    assert set(quick[0]["scores"]) == set(lesson.BY_HAND)


def test_the_scan_by_hand_says_and_looks_at_the_same_as_step_by_step():
    rng = np.random.default_rng(5)
    model = Seq2Seq(7, 5, 3, 8, rng=rng, attention="scaled", context_to="input")
    source, target = rng.integers(7, size=(6, 2)), rng.integers(5, size=(3, 2))
    mask = np.arange(6)[:, None] < [3, 6]
    by_hand = lesson.decoder_by_hand(model, model.encode(source, mask), pt.constant(target))
    logits, weights = pytensor.function([], list(by_hand), mode=QUICK)()
    encoder, step = model.compile_encoder(mode=QUICK), model.compile_step(mode=QUICK)
    memory, valid, *states = encoder(source, mask)
    tokens = np.full(2, model.start)
    for t in range(3):
        log_p, looked, *states = step(tokens, memory, valid, *states)
        np.testing.assert_allclose(np.diff(logits[t]), np.diff(log_p), atol=1e-12)
        np.testing.assert_allclose(weights[t], looked, atol=1e-14)
        tokens = target[t]


@pytest.mark.parametrize("k", range(len(FORMATS)), ids=FORMATS)
def test_positions_are_where_year_month_and_day_are_written(k):
    for day in (date(1994, 9, 27), date(2003, 5, 1), date(2011, 11, 11), date(1970, 10, 30)):
        source = write_date(day, FORMATS[k])
        template, spans = lesson.positions(source)
        assert template == k
        year, month, d = (source[slice(*spans[part])] for part in ("year", "month", "day"))
        assert int(year) in (day.year, day.year % 100)
        assert int(d) == day.day
        name = MONTHS[day.month - 1].lower()
        assert month.lower() in (name, name[:3]) if month.isalpha() else int(month) == day.month


def test_every_date_is_in_exactly_one_format():
    _, test = dates(10, 3000, rng=np.random.default_rng(2))
    counts = Counter(lesson.positions(source)[0] for source, _ in test)
    assert sum(counts.values()) == 3000
    assert set(counts) == set(range(len(FORMATS)))


def answer(source, weights):
    return Answer("2003-08-21", list(source), [*"2003-08-21", "<eos>"], 0.0, 0.0, weights)


def test_shares_count_the_attention_at_its_own_position():
    source = "21.8.2003"  # day at 0 and 1, month at 3, year from 5
    k = FORMATS.index("{d}.{m}.{yyyy}")
    own, left = np.zeros((11, 9)), np.zeros((11, 9))
    for rows, position in ((slice(0, 4), 6), (slice(5, 7), 3), (slice(8, 10), 1)):
        own[rows, position] = 1
    for rows, position in ((slice(0, 4), 4), (slice(5, 7), 2), (slice(8, 10), 2)):
        left[rows, position] = 1
    even = np.full((11, 9), 1 / 9)
    pairs = [(source, "2003-08-21")]
    for weights, on, or_left in (
        (own, [1, 1, 1], [1, 1, 1]),
        (left, [0, 0, 0], [1, 1, 0]),  # before the day there is nothing
        (even, [4 / 9, 1 / 9, 2 / 9], [5 / 9, 2 / 9, 2 / 9]),
    ):
        found = lesson.shares([answer(source, weights)], pairs)
        np.testing.assert_allclose(found[k], np.transpose([on, or_left, [4 / 9, 1 / 9, 2 / 9]]))
        np.testing.assert_allclose(found[-1], found[k])
        assert np.isnan(np.delete(found, [k, -1], axis=0)).all()


def test_with_nothing_hidden_it_says_what_the_translator_says(quick):
    trained, test = quick[0]["trained"], quick[0]["test"]
    said = [(a_source, a.text) for a, (a_source, _) in zip(quick[0]["answers"], test, strict=True)]
    with pytensor.config.change_flags(floatX="float32"):
        shares = lesson.answers_in_part_hidden(trained, said)
    assert shares.shape == (4, 3)
    assert (shares[0] == 1).all()


def test_beams_are_sorted_and_their_probabilities_those_of_the_logarithms(quick):
    for table in quick[0]["best"].values():
        _, log_p, p, drawn = zip(*table, strict=True)
        np.testing.assert_allclose(p, np.exp(log_p))
        assert sorted(log_p, reverse=True) == list(log_p)
        assert 0 < sum(p) <= 1
        np.testing.assert_allclose(drawn, p, atol=0.15)  # of 100


def test_options_that_cannot_be_used_are_named(tmp_path):
    for options, name in (({"epochs": 0}, "--epochs"), ({"full": True, "quick": True}, "--full")):
        with pytest.raises(OptionError, match=name):
            run_lesson(lesson, tmp_path, **options)


def looks_and_needs_to(found):
    """What the lesson says of a trained net, whatever its size."""
    own, or_left, even = found["shares"][-1].T
    assert (own > 2 * even).all()
    assert (own > 0.5).all()
    assert (or_left > 0.7).all()
    assert (found["hidden"][0] > 0.99).all()
    for k in range(3):
        row = found["hidden"][k + 1]
        assert row[k] < 0.2  # what is hidden is guessed
        assert (np.delete(row, k) > 0.85).all()


@pytest.mark.slow
@pytest.mark.numba
def test_more_than_99_per_cent_of_unseen_dates_are_right_by_default(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    assert len(found["answers"]) == 5000
    assert found["accuracy"] >= 0.99
    looks_and_needs_to(found)
    clear, unclear = found["best"].values()
    assert clear[0][2] > 0.95
    assert {"2003-06-05", "2003-07-05"} <= {said for said, *_ in unclear}
    assert unclear[0][2] < 0.95
    for table in found["best"].values():
        for _, _, p, share in table:
            assert share == pytest.approx(p, abs=0.06)  # of 1000 draws


@pytest.mark.slow
@pytest.mark.numba
def test_of_5000_unseen_dates_99_9_per_cent_are_right_after_three_epochs_of_45000(tmp_path):
    found, _ = run_lesson(lesson, tmp_path, full=True)
    assert len(found["trained"].accuracy) == 3
    assert len(found["answers"]) == 5000
    assert found["accuracy"] >= 0.999
    looks_and_needs_to(found)
