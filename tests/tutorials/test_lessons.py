import os
import re
import subprocess
import sys
from typing import Literal

import _lesson
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import ROOT

from symrnn.training.loop import History, NonFiniteLossError

LESSONS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))


def call(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["lesson.py", *arguments])
    _lesson.run(main, help={"epochs": "how many"})


def test_options_are_the_arguments_of_main(monkeypatch):
    seen = []

    def main(
        epochs: int = 10,
        learning_rate: float | None = None,
        optimizer: Literal["one", "two"] | None = None,
        mode: str = "FAST_COMPILE",
        quick: bool = False,
    ):
        seen.append((epochs, learning_rate, optimizer, mode, quick))

    call(monkeypatch, main)
    call(monkeypatch, main, "--epochs", "3", "--learning-rate", "1e-3", "--optimizer", "two")
    call(monkeypatch, main, "--mode", "numba", "--quick")
    assert seen == [
        (10, None, None, "FAST_COMPILE", False),
        (3, 1e-3, "two", "FAST_COMPILE", False),
        (10, None, None, "NUMBA", True),
    ]


def test_help_names_every_option_with_its_default(monkeypatch, capsys):
    def main(epochs: int = 10, figures: str = "figures"):
        pass

    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, main, "--help")
    assert stopped.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "--epochs INT how many (default: 10)" in text
    assert "--figures DIR (default: figures)" in text


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (_lesson.OptionError("not this way"), 2, "lesson.py: error: not this way"),
        (
            NonFiniteLossError(np.nan, 7, History()),
            2,
            "lesson.py: error: the loss is nan at step 7",
        ),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_errors_about_the_request_end_without_traceback(monkeypatch, capsys, raised, code, message):
    def main():
        raise raised

    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, main)
    assert stopped.value.code == code
    assert message in capsys.readouterr().err


def test_options_are_neither_shortened_nor_negative_seeds(monkeypatch, capsys):
    def main(epochs: int = 10, seed: int = 1):
        raise AssertionError("must not be called")

    for arguments, message in ((["--epoch", "5"], "--epoch 5"), (["--seed", "-3"], "--seed is -3")):
        with pytest.raises(SystemExit) as stopped:
            call(monkeypatch, main, *arguments)
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_errors_of_the_code_keep_their_traceback(monkeypatch):
    def main():
        np.ones(5) + np.ones(20)

    with pytest.raises(ValueError, match="broadcast"):
        call(monkeypatch, main)


def test_a_notebook_runs_a_lesson_with_its_defaults(monkeypatch):
    seen = []
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    call(monkeypatch, lambda epochs=3: seen.append(epochs), "-f", "kernel-17.json")
    assert seen == [3]


def test_a_figure_is_saved_atomically(tmp_path, monkeypatch, capsys):
    figure, _ = plt.subplots()
    path = _lesson.save_figure(figure, tmp_path, "picture")
    good = path.read_bytes()
    assert f"figure: {path}" in capsys.readouterr().out

    def break_off(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", break_off)
    with pytest.raises(OSError, match="disk full"):
        _lesson.save_figure(figure, tmp_path, "picture")
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_for_figures_is_made(tmp_path):
    folder = _lesson.figure_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert not list(folder.iterdir())
    assert _lesson.figure_folder(folder, quick=True) == folder / "quick"


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_every_lesson_says_what_it_teaches_shows_and_costs(path):
    text = path.read_text(encoding="utf-8")
    head = text.split('"""')[1]
    for part in ("What you learn", "What you should see", "How long it takes"):
        assert part in head
    assert text.count("# %%") >= 5


# the tests of each lesson run it quickly too, in their own process
FIRST = [
    pytest.param(p, id=p.stem, marks=[] if p.stem[:2] in ("00", "02") else pytest.mark.slow)
    for p in LESSONS
]


@pytest.mark.parametrize("path", FIRST)
def test_every_lesson_runs_quickly_from_another_folder_and_draws(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path), "--quick", "--figures", "pictures"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list((tmp_path / "pictures" / "quick").glob(f"{path.stem[:2]}_*.png"))
