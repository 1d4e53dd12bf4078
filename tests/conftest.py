"""What all tests share: no screen, and PyTensor's mode without compilation of whole functions."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import pytensor
import pytest

ROOT = Path(__file__).parents[1]
plt.switch_backend("Agg")
os.environ["MPLBACKEND"] = "Agg"
pytensor.config.mode = "FAST_COMPILE"


def load_lesson(number: str) -> ModuleType:
    """Import the lesson whose file name begins with `number`."""
    (path,) = (ROOT / "tutorials").glob(f"{number}_*.py")
    spec = importlib.util.spec_from_file_location(f"lesson_{number}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")
