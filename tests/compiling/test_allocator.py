import subprocess
import sys

import pytest

from symrnn.compiling import allocator


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_freed_memory_is_kept_by_the_process():
    """In a process of its own: the setting cannot be undone."""
    code = """
import numpy as np, resource
from symrnn.compiling.allocator import keep_freed_memory
kept = keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2_000_000)  # 16 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first, again = faults(), faults()
assert not kept or again < first / 4, (first, again)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_no_such_setting(monkeypatch, platform):
    monkeypatch.setattr(allocator.sys, "platform", platform)
    assert allocator.keep_freed_memory() is False
