import numpy as np
import pytest
from conftest import load_lesson, run_lesson

from symrnn.lessons import OptionError
from symrnn.tasks.expressions import expressions, schedule

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
    assert {d: {t.depth for t in trees} for d, trees in quick[0]["tests"].items()} == {
        d: {d} for d in (1, 2, 3)
    }


def test_an_epoch_has_every_expression_once_with_its_last_digit():
    trees = expressions(np.random.default_rng(1), 70, depths=(0, 2))
    rng = np.random.default_rng(2)
    batches = list(lesson.batches(trees, schedule, 20, rng))
    assert sorted(len(roots) for _, _, roots, _ in batches) == [10, 20, 20, 20]
    digits = np.concatenate([target for *_, target in batches])
    assert sorted(digits) == sorted(eval(str(tree)) % 10 for tree in trees)


def test_options_that_cannot_be_used_are_named(tmp_path):
    for options, name in (({"epochs": 0}, "--epochs"), ({"depth": 1}, "--depth is 1")):
        with pytest.raises(OptionError, match=name):
            run_lesson(lesson, tmp_path, **options)
