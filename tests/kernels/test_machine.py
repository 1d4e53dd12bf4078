"""Kernels are compiled once, kept on disk whole, and loaded with the same bits."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from llvmlite import ir

from symrnn.kernels import machine
from symrnn.kernels.writing import JOB, Array, Code

SYMBOL = "symrnn_test_machine"


def third(factor):
    """A module whose function writes a third of each number, times a factor."""
    module = ir.Module("third")
    code = Code(module, SYMBOL, [JOB], "float64")
    (job,) = code.arguments
    x, out = (Array(code, code.pointer(code.given(job, k))) for k in (1, 2))
    with code.loop(code.given(job, 0)) as k:
        scaled = code.b.fmul(code.load_number(x.at(k)), ir.Constant(code.number, factor / 3))
        code.store_number(scaled, out.at(k))
    code.end()
    return str(module)


def called(address):
    x = np.random.default_rng(0).normal(size=9)
    out = np.empty(9)
    job = np.array([9, x.ctypes.data, out.ctypes.data], np.int64)
    machine.function_at(address)(job.ctypes.data)
    np.testing.assert_allclose(out, x / 3, rtol=1e-15)
    return out.tobytes()


@pytest.fixture
def compiled(monkeypatch):
    """The texts that have been compiled."""
    texts, before = [], machine._compiled

    def compile_(text, *rest):
        texts.append(text)
        return before(text, *rest)

    monkeypatch.setattr(machine, "_compiled", compile_)
    return texts


@pytest.fixture
def use(monkeypatch):
    """Keep kernels in another folder."""

    def folder_is(folder):
        config = SimpleNamespace(base_compiledir=str(folder))
        monkeypatch.setattr(machine, "pytensor", SimpleNamespace(config=config))

    return folder_is


def load(text=None):
    """Load as another process would, which knows of no kernel."""
    return machine.load.__wrapped__(text or third(1.0), (SYMBOL,))[SYMBOL]


def test_the_file_on_disk_is_used_again_with_the_same_bits(compiled, use, tmp_path):
    use(tmp_path / "new" / "folder")
    first = called(load())
    (file,) = (tmp_path / "new" / "folder" / "symrnn").iterdir()
    content = file.read_bytes()
    assert called(load()) == first
    assert len(compiled) == 1
    assert file.read_bytes() == content


def test_a_text_is_written_only_if_its_code_is_not_on_disk(compiled, use, tmp_path, monkeypatch):
    use(tmp_path)
    written = []

    def write():
        written.append(True)
        return third(1.0)

    first = called(load(write))
    assert called(load(write)) == first
    assert (len(written), len(compiled)) == (1, 1)
    monkeypatch.setattr(machine, "_source_code", lambda: b"another version of symrnn")
    assert called(load(write)) == first
    assert (len(written), len(compiled)) == (2, 2)
    monkeypatch.setattr(machine, "_source_code", lambda: b"")  # not files, but in an archive
    assert called(load(write)) == first
    assert called(load()) == first
    assert (len(written), len(compiled)) == (3, 3)


def test_another_text_has_another_file(compiled, use, tmp_path):
    use(tmp_path)
    load()
    load(third(2.0))
    load(third(2.0))
    assert len(compiled) == len([*(tmp_path / "symrnn").iterdir()]) == 2


def test_compiling_twice_makes_the_same_code(use, tmp_path):
    contents = []
    for name in "ab":
        use(tmp_path / name)
        load()
        contents += [file.read_bytes() for file in (tmp_path / name / "symrnn").iterdir()]
    assert contents[0] == contents[1]


DAMAGES = {
    "cut in half": lambda content: content[: len(content) // 2],
    "a flipped bit at the end": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "a flipped bit in the middle": lambda c: c[:400] + bytes([c[400] ^ 4]) + c[401:],
    "a flipped bit in the checksum": lambda content: bytes([content[0] ^ 128]) + content[1:],
    "longer": lambda content: content + b"0",
    "empty": lambda content: b"",
    "no code": lambda content: content[:32],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_anew_and_mended(damage, compiled, use, tmp_path):
    use(tmp_path)
    first = called(load())
    (file,) = (tmp_path / "symrnn").iterdir()
    content = file.read_bytes()
    file.write_bytes(DAMAGES[damage](content))
    assert called(load()) == first
    assert len(compiled) == 2
    assert file.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_no_obstacle(compiled, use, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    use(tmp_path / "file")
    assert called(load()) == called(load())
    assert len(compiled) == 2


def test_a_full_disk_is_no_obstacle(compiled, use, tmp_path, monkeypatch):
    def full(path):
        raise OSError("No space left on device")

    use(tmp_path)
    monkeypatch.setattr(machine, "replacing", full)
    called(load())
    assert len(compiled) == 1
    assert not [*tmp_path.iterdir()]


def test_processes_that_start_at_once_on_an_empty_folder_give_the_same_result(tmp_path):
    code = """
import hashlib, numpy as np
from symrnn.kernels.calls import multiply
rng = np.random.default_rng(0)
a, b = (rng.normal(size=s).astype("float32") for s in ((300, 200), (200, 250)))
print(hashlib.sha256(multiply(a, b).tobytes()).hexdigest())
"""
    env = {**os.environ, "PYTENSOR_FLAGS": f"base_compiledir={tmp_path}"}

    def start():
        return subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)

    first = [process.communicate()[0] for process in [start(), start(), start()]]
    files = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "symrnn").iterdir()}
    assert files
    assert all(name.endswith(".o") for name in files)
    later = start().communicate()[0]
    assert {*first, later} == {later}
    assert len(later) == 65
    assert files == {f.name: f.stat().st_mtime_ns for f in (tmp_path / "symrnn").iterdir()}


def test_no_more_threads_than_processors_and_than_omp_num_threads_says(monkeypatch):
    count = machine.n_threads.__wrapped__
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    for given, expected in (("3", 3), ("16", 8), ("1", 1), ("0", 1), ("many", 8), ("", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert count() == expected, given
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert count() == 8


def test_a_function_that_the_c_library_does_not_have_is_named():
    with pytest.raises(OSError, match="no such_function"):
        machine.declare_c_function("such_function")
