"""What all tests share: no screen, and PyTensor's mode without compilation of whole functions."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: each test process has one core

import contextlib
import importlib.util
import io
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import pytensor
import pytest

from symrnn.kernels import rewrites

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
sys.path.insert(0, str(ROOT / "tutorials"))  # lessons import _lesson
plt.switch_backend("Agg")
os.environ["MPLBACKEND"] = "Agg"
pytensor.config.mode = "FAST_COMPILE"
rewrites.register()  # for tests of kernels, which import no net


def load_lesson(number: str) -> ModuleType:
    """Import the lesson whose file name begins with `number`."""
    (path,) = (ROOT / "tutorials").glob(f"{number}_*.py")
    spec = importlib.util.spec_from_file_location(f"lesson_{number}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_lesson(lesson: ModuleType, folder: Path, **options: Any) -> tuple[Any, str]:
    """What the lesson's `main` returned, and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        found = lesson.main(figures=str(folder), **options)
    return found, out.getvalue()


@pytest.fixture(scope="module")
def quick(request, tmp_path_factory):
    """A quick run of the test module's `lesson`: what it returned and printed, its figures."""
    folder = tmp_path_factory.mktemp("figures")
    return *run_lesson(request.module.lesson, folder, quick=True), folder / "quick"


@pytest.fixture(scope="session", autouse=True)
def _hear_ctrl_c():
    """Let tests press Ctrl-C in ``nohup make test &`` too, where a shell makes it be ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")
