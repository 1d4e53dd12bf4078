import re

import numpy as np
import pytest
from conftest import load_lesson, run_lesson

from symrnn.tasks.binary_addition import binary_addition, from_bits, to_bits

lesson = load_lesson("05")


def test_both_gradients_are_equal_at_every_step(quick):
    found, _, _ = quick
    assert len(found["differences"]) == 1000
    assert max(found["differences"]) < 1e-10


def test_progress_lines_show_a_sum_and_what_the_net_says(quick):
    found, printed, folder = quick
    lines = re.findall(
        r"iters +(\d+)  loss (\d+\.\d\d)  (\d+) \+ (\d+) = (\d+)  predicted (\d+)", printed
    )
    assert len(lines) == 10
    for step, loss, a, b, total, _ in lines:
        assert int(a) + int(b) == int(total)
        assert abs(float(loss) - found["losses"][int(step) - 1]) <= 0.005
    assert sorted(p.name for p in folder.iterdir()) == ["05_carry.png", "05_loss.png"]


def test_the_second_version_adds(quick):
    losses, shown = quick[0]["second"]
    assert len(losses) == 100
    assert sum(a + b == said for a, b, said in shown) == 5


def test_the_gradient_by_hand_equals_finite_differences():
    rng = np.random.default_rng(0)
    x, t = binary_addition(n_samples=2, n_bits=4, rng=rng)
    weights = [rng.normal(size=s) for s in ((2, 3), (3, 3), (3, 1))]
    _, *gradients = lesson.by_hand(x, t, *weights)
    for w, g in zip(weights, gradients, strict=True):
        for index in np.ndindex(w.shape):
            costs = []
            for sign in (1, -1):
                w[index] += sign * 1e-6
                costs.append(lesson.by_hand(x, t, *weights)[0])
                w[index] -= sign * 1e-6
            np.testing.assert_allclose((costs[0] - costs[1]) / 2e-6, g[index], atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_after_10000_sums_the_last_1000_are_right(seed, tmp_path):
    found, _ = run_lesson(lesson, tmp_path, seed=seed)
    assert found["accuracy"] == 100.0
    assert 0.002 < np.mean(found["losses"][-1000:]) < 0.05  # published: .008 to .033
    assert max(found["differences"]) < 1e-6
    if seed == 1:  # other starts of three units may get stuck
        assert sum(a + b == said for a, b, said in found["second"][1]) == 5


@pytest.mark.parametrize("legacy", [False, True])
def test_sums_are_right_and_have_room(legacy):
    rng = np.random.RandomState(0) if legacy else np.random.default_rng(0)
    x, t = binary_addition(200, n_bits=8, rng=rng)
    assert (x.shape, t.shape) == ((8, 200, 2), (8, 200, 1))
    a, b = from_bits(x[:, :, 0]), from_bits(x[:, :, 1])
    assert max(a.max(), b.max()) < 128
    np.testing.assert_array_equal(from_bits(t[:, :, 0]), a + b)
    np.testing.assert_array_equal(from_bits(to_bits([0, 5, 255], 8)), [0, 5, 255])


def test_sizes_and_numbers_that_do_not_fit_are_refused():
    rng = np.random.default_rng(0)
    for sizes in ({"n_samples": 0}, {"n_bits": 1}, {"n_bits": 63}):
        with pytest.raises(ValueError, match="but must be a whole number"):
            binary_addition(rng=rng, **sizes)
    for number in (-1, 16):
        with pytest.raises(ValueError, match="from 0 to 15 have 4 bits"):
            to_bits([number], 4)
