import numpy as np
import pytensor
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

from symrnn.models.word2vec import CBOW
from symrnn.text.word_vectors import WordVectors

lesson = load_lesson("19")


def test_the_quick_run_draws_and_prints_all_parts(quick):
    found, printed, folder = quick
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["19_maps.png", "19_seven_words.png", "judgements.tsv"]
    for part in range(1, 7):
        assert f"\n{part}. " in "\n" + printed
    assert max(map(len, printed.splitlines())) < 120
    assert set(found["found"]) == {"PPMI", "SVD", *lesson.NETS}


def test_the_sentence_says_what_is_alike(quick):
    seven = quick[0]["seven"]
    words = seven["words"]
    assert words == ("you", "say", "goodbye", "and", "i", "hello", ".")
    assert seven["counts"].sum() == 14  # seven pairs of neighbours, both ways
    assert seven["likeness"]["counts"][0, words.index("i")] == pytest.approx(np.sqrt(0.5))
    np.testing.assert_allclose(seven["ppmi"][0, 1], np.log(14 / 4))


@pytest.mark.parametrize("contexts", [[[0, 1], [2, -1], [1, 1]], [[3], [1], [3]]])
def test_the_step_by_hand_is_that_of_the_library(contexts):
    rng = np.random.default_rng(1)
    model = CBOW(4, 3, rng=rng)
    V, U = rng.normal(size=(2, 4, 3))
    model.W_in.set_value(V)
    model.W_out.set_value(U)
    step = model.compile_softmax(0.5)
    contexts, targets = np.array(contexts), np.array([3, 0, 3])
    for _ in range(3):
        loss = lesson.cbow_step(V, U, contexts, targets, 0.5)
        np.testing.assert_allclose(step(contexts, targets), loss, rtol=1e-13)
    np.testing.assert_allclose(model.W_in.get_value(), V, rtol=0, atol=1e-13)
    np.testing.assert_allclose(model.W_out.get_value(), U, rtol=0, atol=1e-13)


def test_by_hand_and_by_graph_learn_the_sentence_alike(quick):
    by_hand, by_graph = np.transpose(quick[0]["by_hand"]["losses"])
    np.testing.assert_allclose(by_hand, by_graph, rtol=1e-12)
    assert by_hand[0] == pytest.approx(np.log(7), abs=0.01)
    assert by_hand[-1] < 0.3
    assert max(quick[0]["differences"].values()) < 1e-14


def test_vectors_that_know_the_classes_are_judged_right(quick):
    text = quick[0]["text"]
    classes = list(text.planted.classes)
    matrix = np.random.default_rng(1).normal(size=(len(text.vocabulary), 100))
    for word, name in text.planted.class_of.items():
        matrix[text.vocabulary[word]] *= 0.01
        matrix[text.vocabulary[word], classes.index(name)] += 1
    found = lesson.judge("classes", matrix, text, 0.0)
    assert found.nearest == found.three == 1
    assert found.solved < 0.5  # which of the capitals, nobody told
    assert found.rho > 0.7


def test_counting_finds_most_even_in_a_short_text(quick):
    found = quick[0]["found"]
    assert found["PPMI"].nearest > 0.9
    assert found["PPMI"].solved > 0.9
    assert found["SVD"].nearest > 0.9


def test_options_that_cannot_be_used_are_named(tmp_path):
    for options, name in (
        ({"epochs": 0}, "--epochs"),
        ({"sentences": 0}, "--sentences"),
        ({"sentences": 20, "quick": True}, "planted word never occurs"),
    ):
        with pytest.raises(OptionError, match=name):
            run_lesson(lesson, tmp_path, **options)


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.parametrize("seed", [1])
def test_counting_and_predicting_find_what_is_planted(tmp_path, seed):
    found, _ = run_lesson(lesson, tmp_path, seed=seed)
    for name in ("PPMI", "SVD", "skip-gram"):
        assert found["found"][name].nearest >= 0.95, name
        assert found["found"][name].solved >= 0.9, name
        assert found["found"][name].rho > 0.8, name
    counted, predicted = found["scores"]
    assert np.corrcoef(counted, predicted)[0, 1] > 0.8
    vectors = found["found"]["skip-gram"].vectors
    vectors.save(tmp_path / "vectors.txt")
    again = WordVectors.load(tmp_path / "vectors.txt")
    assert again.words == vectors.words
    np.testing.assert_array_equal(again.vectors, vectors.vectors)
    assert pytensor.config.floatX == "float64"
