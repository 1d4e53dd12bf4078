import contextlib
import io

import numpy as np
import pytest
from conftest import load_lesson
from PIL import Image

lesson = load_lesson("04")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The lesson, run once: what it returned, what it printed, and where its figures are."""
    folder = tmp_path_factory.mktemp("figures")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        found = lesson.main(quick=True, figures=str(folder))
    return found, out.getvalue(), folder / "quick"


TRACE = """\
t  x[t]  x[t+1]  s[t-1]  change   s[t]  large[t]
0     0       1       0       1      1     False
1     1       1       1       0    0.5     False
2     1       3     0.5       2   2.25      True
3     3       2    2.25      -1  2.125      True"""


def test_the_trace_shows_every_value_of_every_step(run):
    found, printed, _ = run
    assert str(found["trace"]) == TRACE
    assert TRACE in printed


def test_the_first_nan_is_in_the_step_where_the_root_is_negative(run):
    forward, back = run[0]["nonfinite"]
    # s: sqrt(4 - 3) = 1, sqrt(1 - .5), sqrt(.5 - 1)
    assert (forward.step, forward.comes_from) == (2, "the step")
    assert "sqrt" in forward.name
    # s: 1, 0, 0: the gradient of sqrt(0); the backward pass begins at the last step
    assert (back.scan, back.step) == ("the gradient of a scan", 0)


def test_gradients_vanish_explode_or_stay(run):
    flows = run[0]["flows"]
    assert flows["Elman, W_h times 0.6"][0] < 1e-3
    assert flows["Elman, W_h times 1.6"][0] > 1e3
    # W_h is 1.6 times an orthogonal matrix there, and nothing squashes
    ratios = flows["Elman, W_h times 1.6"][:-1] / flows["Elman, W_h times 1.6"][1:]
    np.testing.assert_allclose(ratios, 1.6, rtol=1e-9)
    assert flows["Elman, W_h times 0.6"][0] < flows["LSTM"][0] < flows["LSTM"][-1]


def test_each_mistake_is_told_of_and_mended(run):
    found, printed, _ = run
    results = [
        [1, 3, 6], [-1, -3, -6], [1, 3, 6], [1, 3, 6], [[0, 1], [2, 4], [6, 9]],
        [[0, 1], [2, 4], [6, 9]], [-1, 2, 3], [2, 4, 6], None, [6, 5, 3],
    ]  # fmt: skip
    assert len(found["mistakes"]) == 10
    for (_, value), expected in zip(found["mistakes"], results, strict=True):
        if expected is not None:
            np.testing.assert_array_equal(value, expected)
    wrong = [k for k, (report, _) in enumerate(found["mistakes"], 1) if not report]
    assert wrong == [1, 3, 4, 6, 7, 8, 9]  # 2, 5 and 10 are right for PyTensor and not for people
    place = found["mistakes"][8][1]
    assert len(set(np.diff([0, *place]).round(12))) == 4
    assert printed.count("fixed") == 10


def test_figures_and_walk_are_made(run):
    folder = run[2]
    names = ["04_gradients", "04_loop", "04_lstm", "04_memory", "04_step"]
    assert sorted(p.stem for p in folder.glob("*.png")) == names
    with Image.open(folder / "04_walk.gif") as walk:
        assert walk.n_frames == 4
