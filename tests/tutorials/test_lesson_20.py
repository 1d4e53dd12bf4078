import numpy as np
import pytest
from conftest import load_lesson, run_lesson

from symrnn.models.vae.vectors import VAE
from symrnn.tasks.bars import best_log_likelihood

lesson = load_lesson("20")


def test_the_quick_run_prints_and_draws_all_parts(quick):
    _, printed, folder = quick
    names = ["20_plane", "20_sentences", "20_training"]
    assert sorted(p.stem for p in folder.iterdir()) == names
    for part in range(1, 5):
        assert f"{part}. " in printed
    assert max(map(len, printed.splitlines())) < 120


def test_the_gradient_of_draws_is_that_of_the_mean(quick):
    for mean, error, true in quick[0]["gradients"].values():
        assert abs(mean - true) < 4 * error


def test_the_bound_by_hand_is_that_of_the_library(quick):
    by_hand, graph = quick[0]["bounds"].values()
    np.testing.assert_allclose(graph, by_hand, rtol=1e-12)


def test_the_loss_is_annealed_to_the_whole_bound(quick):
    terms = quick[0]["bars"]["annealed"].terms
    loss, log_p, kl = terms.T
    w = (loss + log_p) / kl
    half = len(w) // 2
    np.testing.assert_allclose(w[:half], np.arange(1, half + 1) / half, atol=0.01)
    np.testing.assert_allclose(w[half:], 1, atol=0.01)


def test_all_sentences_are_among_what_is_trained_on_and_end():
    words = lesson.DialogueVocabulary.build([lesson.SENTENCES])
    tokens, mask = lesson.encoded_sentences(words)
    assert tokens.shape == mask.shape == (6, 18)
    texts = [words.text(column[m]) for column, m in zip(tokens.T, mask.T, strict=True)]
    assert [t.replace(".", " .") for t in texts] == lesson.SENTENCES
    assert all(column[m][-1] == words.eos for column, m in zip(tokens.T, mask.T, strict=True))


@pytest.mark.slow
def test_bars_lie_in_a_plane_and_only_hidden_words_make_a_decoder_listen(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    for run in found["bars"].values():
        assert isinstance(run.model, VAE)
        elbo = (run.terms[-200:, 1] - run.terms[-200:, 2]).mean()
        assert best_log_likelihood() - 2 < elbo < best_log_likelihood()
    numbers = {name: run["numbers"] for name, run in found["sentences"].items()}
    elbo, _, kl, rebuilt = np.transpose([numbers[name] for name in lesson.SETTINGS])
    assert abs(elbo[0] + np.log(18)) < 0.05
    assert kl[0] < 0.1
    assert rebuilt[0] < 0.2
    assert kl[3] > 2
    assert rebuilt[3] > 0.9
    assert elbo[3] < elbo[0]  # a useful z is not what the bound asks for
