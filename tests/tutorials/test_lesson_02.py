import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytensor
import pytest
from conftest import ROOT, load_lesson
from pytensor.gradient import verify_grad

lesson = load_lesson("02")

# Cost of gradient descent at epoch 100, 200, ..., 2000, as published.
PUBLISHED = [
    "529.6915", "504.5684", "475.3019", "435.9507", "362.6525",
    "0.2677", "0.1585", "0.1484", "0.1389", "0.1300",
    "0.1216", "0.1138", "0.1064", "0.0995", "0.0930",
    "0.0870", "0.0813", "0.0760", "0.0710", "0.0663",
]  # fmt: skip
START = (0.0900, 0.0113)


@pytest.fixture
def bits():
    return lesson.bit_counting(rng=np.random.RandomState(1))


@pytest.mark.parametrize(
    "mode",
    [
        None,
        pytest.param("FAST_COMPILE", marks=pytest.mark.slow),
        pytest.param("CVM", marks=pytest.mark.slow),
        pytest.param("NUMBA", marks=[pytest.mark.numba, pytest.mark.slow]),
    ],
)
def test_the_published_costs_and_weights_come_out_to_all_digits(mode, tmp_path, capsys):
    runs = lesson.main(mode=mode, figures=str(tmp_path))
    costs, path = runs["gradient descent"]
    assert [f"{cost:.4f}" for cost in costs[99::100]] == PUBLISHED
    assert [f"{w:.4f}" for w in path[-1]] == ["1.0597", "0.9863"]
    assert (len(costs), len(path)) == (2000, 2001)

    costs, path = runs["centred RMSProp"]
    assert max(costs[399:]) < 0.01
    np.testing.assert_allclose(path[-1], [1, 1], atol=0.001)

    costs, _ = runs["plain RMSProp"]
    np.testing.assert_allclose([costs[99], costs[899], costs[999]], [533.25, 16.52, 0.0175], 2e-3)

    out = capsys.readouterr().out
    for row in (PUBLISHED[:10], PUBLISHED[10:]):
        assert "  " + " ".join(row) in out
    assert "w_x 1.0597, w_rec 0.9863" in out
    assert "gradient at the start: [-152.97  -12.15] in its first step, [-152.97  -12.15]" in out
    assert "compiling cost, gradient and update" in out
    for name in ("02_cost_surface", "02_loss_curves"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_rmsprop_stays_at_the_true_weights(tmp_path):
    """The published run has 2000 epochs; the lesson by default stops at 600."""
    runs = lesson.main(optimizer="rmsprop", epochs=2000, figures=str(tmp_path))
    costs, path = runs["centred RMSProp"]
    assert max(costs[399:]) < 0.01
    assert np.abs(np.array(path[600:]) - 1).max() < 0.001


def test_gradient_by_hand_equals_the_graphs(bits):
    X, t = bits
    rng = np.random.default_rng(0)
    net = lesson.BitCounter(*START)
    function = pytensor.function(
        [net.x, net.t], [net.cost, *pytensor.grad(net.cost, net.params)], mode="FAST_COMPILE"
    )
    for _ in range(20):
        weights = rng.uniform(-1, 1, size=2)
        for w, value in zip(net.params, weights, strict=True):
            w.set_value(value)
        np.testing.assert_allclose(
            lesson.cost_and_gradient(X, t, *weights), function(X, t), rtol=1e-12, atol=1e-10
        )


def test_verify_grad_passes_for_the_raw_scan(bits):
    X, t = bits

    def cost(w_x, w_rec):
        s = pytensor.scan(
            lesson.BitCounter.step,
            sequences=[X],
            outputs_info=[np.zeros(X.shape[1])],
            non_sequences=[w_x, w_rec],
            strict=True,
            return_updates=False,
        )
        return ((s[-1] - t) ** 2).sum()

    verify_grad(cost, [np.array(0.7), np.array(0.4)], rng=np.random.default_rng(0))


def test_the_library_gives_the_same_cost(bits):
    X, t = bits
    for weights in (START, (1.0, 1.0), (0.5, -0.8)):
        expected = lesson.cost_and_gradient(X, t, *weights)[0]
        assert lesson.same_with_library(X, t, weights, "FAST_COMPILE") == pytest.approx(
            float(expected), rel=1e-12, abs=1e-12
        )


def test_the_largest_learning_rate_that_settles_is_the_one_stated(bits):
    X, t = bits
    limit = lesson.largest_learning_rate(X, t)
    assert limit == pytest.approx(9.5e-5, rel=0.01)
    for learning_rate, settles in ((0.98 * limit, True), (1.02 * limit, False)):
        w = np.array([1.0, 1.0 + 1e-6])
        before = lesson.cost_and_gradient(X, t, *w)[0]
        for _ in range(200):
            w = w - learning_rate * np.array(lesson.cost_and_gradient(X, t, *w)[1:])
        assert (lesson.cost_and_gradient(X, t, *w)[0] < before) == settles


def test_the_lesson_leaves_the_configuration_as_it_was(tmp_path):
    before = pytensor.config.floatX
    lesson.main(quick=True, figures=str(tmp_path))
    assert pytensor.config.floatX == before


def run(*arguments, timeout=120):
    return subprocess.run(
        [sys.executable, str(ROOT / "tutorials" / "02_bit_counting.py"), *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout,
        env=os.environ | {"MPLBACKEND": "Agg"},
    )  # fmt: skip


def test_the_command_line_takes_its_options(tmp_path):
    done = run(
        "--optimizer", "gradient_descent", "--epochs", 100, "--learning-rate", "1e-5",
        "--seed", 1, "--mode", "fast_compile", "--figures", tmp_path / "new" / "folder",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "529.6915" in done.stdout
    assert "RMSProp" not in done.stdout
    assert (tmp_path / "new" / "folder" / "02_cost_surface.png").exists()
    assert done.stderr == ""


def test_a_diverging_learning_rate_ends_with_the_step_and_a_fix(tmp_path):
    done = run("--learning-rate", 1, "--figures", tmp_path, "--optimizer", "gradient_descent")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "at step" in done.stderr
    assert "a lower learning rate" in done.stderr


def test_ctrl_c_shows_what_was_learnt_and_ends_the_lesson(tmp_path):
    command = [sys.executable, "-u", str(ROOT / "tutorials" / "02_bit_counting.py")]
    with subprocess.Popen(
        [*command, "--epochs", "1000000", "--figures", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"MPLBACKEND": "Agg"},
    ) as lesson:  # fmt: skip
        while "compiling" not in lesson.stdout.readline():
            pass
        time.sleep(3)
        lesson.send_signal(signal.SIGINT)
        out, err = lesson.communicate(timeout=60)
    assert lesson.returncode == 130, err
    assert "Traceback" not in err
    assert "RMSProp" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optimizer", "adamm"], "invalid choice: 'adamm' (choose from"),
        (["--mode", "FASTER"], "invalid choice: 'FASTER' (choose from"),
        (["--epochs", "many"], "invalid int value: 'many'"),
        (["--epochs", "0"], "--epochs is 0, but must be a positive number"),
        (["--learning-rate", "0"], "--learning-rate is 0.0, but must be a positive number"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0, but must be a positive number"),
        (
            ["--optimizer", "rmsprop", "--learning-rate", "-1"],
            "--learning-rate is -1.0, but must be a positive number",
        ),
        (["--figures", "{file}/figures"], "choose another folder with --figures DIR"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, message, tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    done = run(*(a.format(file=file) for a in arguments))
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
