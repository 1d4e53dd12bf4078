import itertools

import numpy as np
import pytest
from conftest import load_lesson, run_lesson

lesson = load_lesson("07")


def test_the_quick_run_draws_all_figures_and_prints_lines_that_can_be_read(quick):
    assert max(map(len, quick[1].splitlines())) < 200
    figures = sorted(p.stem for p in quick[2].iterdir())
    assert figures == ["07_carousel", "07_clipping", "07_recall", "07_singular_values"]


def test_the_gradient_of_a_linear_net_is_a_power_of_the_singular_value(quick):
    for s in lesson.SCALES:
        flow = quick[0]["flows"]["identity"][f"s = {s}"]
        np.testing.assert_allclose(flow, flow[-1] * s ** np.arange(20)[::-1], rtol=1e-12)


def test_the_flow_of_a_tanh_net_equals_a_product_of_jacobians():
    rng = np.random.default_rng(3)
    W_h = rng.normal(size=(4, 4))
    flow = lesson.elman_flow("tanh", W_h, 6)
    W_x = lesson.sr.ElmanCell(
        1, 4, rng=np.random.default_rng(0), activation="tanh", W_h=W_h
    ).W_x.get_value()
    x = np.random.default_rng(1).normal(size=(6, 4, 1))
    h, states = np.zeros((4, 4)), []
    for x_t in x:
        h = np.tanh(x_t @ W_x + h @ W_h)
        states.append(h)
    d = np.ones((4, 4))
    for t in reversed(range(6)):
        assert flow[t] == pytest.approx(np.linalg.norm(d), rel=1e-12)
        d = (d * (1 - states[t] ** 2)) @ W_h.T


def test_without_W_h_the_memory_carries_the_gradient_unchanged(quick):  # noqa: N802
    flows = quick[0]["carousels"]["W_h = 0"]
    np.testing.assert_allclose(flows["no forget gate"], flows["no forget gate"][-1], rtol=1e-12)
    factor = (flows["forget bias 1"][0] / flows["forget bias 1"][-1]) ** (1 / 19)
    assert factor == pytest.approx(1 / (1 + np.exp(-1)), abs=0.01)


def test_clipping_by_norm_keeps_the_direction_and_by_value_does_not(quick):
    g, by_norm, by_value = quick[0]["arrows"].values()
    np.testing.assert_allclose(by_norm, g / np.linalg.norm(g), rtol=1e-12)
    np.testing.assert_array_equal(by_value, [1.0, 1.0])


def test_the_loss_with_the_cliff_equals_that_in_numpy(quick):
    path = quick[0]["paths"]["not clipped"]
    for start, end in itertools.pairwise(path[:30]):
        gradient = []
        for e in np.eye(2) * 1e-6:
            plus, minus = (lesson.loss_in_numpy(*(start + s * e)) for s in (1, -1))
            gradient.append((plus - minus) / 2e-6)
        step = lesson.LEARNING_RATE * np.array(gradient)
        np.testing.assert_allclose(end, start - step, atol=1e-8)


@pytest.mark.slow
def test_whose_gradient_arrives_learns_to_recall(tmp_path):
    found, printed = run_lesson(lesson, tmp_path)
    for name, accuracies in found["recall"].items():
        assert (accuracies[0] > 0.95).all(), name  # ten steps of waiting: all
    hundred = {name: accuracies[-1] for name, accuracies in found["recall"].items()}
    assert (hundred["LSTM, forget bias 3"] > 0.95).all()
    assert (hundred["LSTM, forget bias 0"] < 0.6).all()
    assert hundred["Elman, s = 0.8"].mean() < hundred["Elman, s = 1.25"].mean()
    first, last = found["carousels"]["W_h = 0"]["forget bias 0"][[0, -1]]
    assert first < 1e-20 * last
    lost, kept, by_value = (path[-1] for path in found["paths"].values())
    assert lesson.loss_in_numpy(*lost) > 0.1
    assert lesson.loss_in_numpy(*kept) < 1e-3
    assert lesson.loss_in_numpy(*by_value) < 0.05
    radius = float(printed.split("largest eigenvalue ")[1].split(";")[0])
    flow = found["random"]
    assert (flow[0] / flow[50]) ** (1 / 50) == pytest.approx(radius, rel=0.02)
