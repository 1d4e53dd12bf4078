import numpy as np
import pytest
from _lesson import OptionError
from conftest import load_lesson, run_lesson

from symrnn.tasks.expressions import expressions, parse

lesson = load_lesson("24")


def test_the_quick_run_prints_and_draws_all_parts(quick):
    found, printed, folder = quick
    assert sorted(p.stem for p in folder.iterdir()) == ["24_accuracy", "24_tree"]
    for part in range(1, 5):
        assert f"{part}. " in printed
    assert [*found["runs"]] == [*lesson.NETS]
    assert found["tree"].value() == 15


def test_recursion_scan_and_library_agree(quick):
    recursion, *others = quick[0]["vectors"]
    for other in others:
        np.testing.assert_allclose(other, recursion, atol=1e-14)


def test_no_expression_is_learnt_and_asked(quick):
    asked = {tree for trees in quick[0]["tests"].values() for tree in trees}
    assert not asked & set(quick[0]["learn"])
    assert quick[0]["told"][3] == 0
    assert {d: {t.depth for t in trees} for d, trees in quick[0]["tests"].items()} == {
        d: {d} for d in (1, 2, 3)
    }


def test_an_epoch_has_every_expression_once():
    trees = expressions(70, rng=np.random.default_rng(1), depths=(0, 2))
    batches = list(lesson.batches(trees, lambda batch: batch, 20, np.random.default_rng(2)))
    assert sorted(map(len, batches)) == [10, 20, 20, 20]
    assert sorted(str(tree) for batch in batches for tree in batch) == sorted(map(str, trees))


def test_both_nets_are_told_the_same_digits_in_the_same_order():
    trees = [*expressions(20, rng=np.random.default_rng(1), depths=(0, 3)), parse("7*8-(2+3)")]
    *_, roots, of_nodes = lesson.tree_batch(trees)
    _, mask, ends, of_ends = lesson.text_batch(trees)
    for k in range(len(trees)):
        np.testing.assert_array_equal(of_ends[ends[:, k], k], of_nodes[: roots[k], k])
    assert of_ends[ends[:, -1], -1].tolist() == [7, 8, 6, 2, 3, 5, 1]
    assert ends[mask.sum(axis=0) - 1, range(len(trees))].all()


def test_options_that_cannot_be_used_are_named(tmp_path):
    for options, name in (({"epochs": 0}, "--epochs"), ({"depth": 1}, "--depth is 1")):
        with pytest.raises(OptionError, match=name):
            run_lesson(lesson, tmp_path, **options)


@pytest.mark.slow
def test_the_tree_carries_on_to_deeper_expressions_and_the_text_does_not(tmp_path):
    found, _ = run_lesson(lesson, tmp_path)
    told = found["told"].values()
    assert [*told][2:] == [0, 0, 0, 0]
    tree, text = (run for run in found["runs"].values())
    assert text.n_weights > tree.n_weights
    for depth, accuracy in tree.accuracy[-1].items():
        assert accuracy > text.accuracy[-1][depth] + 0.1 or depth == 1
    assert tree.accuracy[-1][3] > 0.8
