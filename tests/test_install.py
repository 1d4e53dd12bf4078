"""What a user does before the first lesson: make, and the wheel in an empty environment."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import version

import pytest
from conftest import ROOT

# make passes its flags and variables on to makes that it starts; a test's make must not see them.
OF_MAKE = ("MAKE", "MFLAGS", "VENV", "PYTHON")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(OF_MAKE)}
ENVIRONMENT |= {"MPLBACKEND": "Agg"}


def run(*command, cwd, timeout=1200, **environment):
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=ENVIRONMENT | environment, timeout=timeout,
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def clone(tmp_path):
    """Make a copy of the repository as git has it, with the changes that are not committed."""
    files = run("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).exists():
            target = tmp_path / "clone" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return tmp_path / "clone"


def test_make_says_what_is_missing_if_no_python_fits(clone):
    old = clone / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = run("make", "tutorial", f"PYTHON={old} no-such-python", cwd=clone)
    assert done.returncode != 0
    assert "symrnn needs Python 3.11, 3.12, 3.13 or 3.14" in done.stderr
    assert "old-python: Python 3.8.1" in done.stderr
    assert "no-such-python: does not run" in done.stderr
    assert not (clone / ".venv").exists()


def test_make_removes_an_environment_that_could_not_be_made_and_then_works(clone):
    broken = clone / "broken-python"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = -c ] && exit 0\n[ "$1" = --version ] && echo Python 3.12.9 && exit 0\n'
        "mkdir -p .venv/bin && touch .venv/bin/python && exit 1\n"
    )
    broken.chmod(0o755)
    done = run("make", ".venv/bin/python", f"PYTHON={broken}", cwd=clone)
    assert done.returncode != 0
    assert "could not make the virtual environment .venv" in done.stderr
    assert not (clone / ".venv").exists()
    done = run("make", ".venv/bin/python", f"PYTHON={sys.executable}", cwd=clone)
    assert done.returncode == 0, done.stderr
    assert run(clone / ".venv/bin/python", "-m", "pip", "--version", cwd=clone).returncode == 0


def test_make_refuses_a_folder_with_spaces(clone):
    done = run("make", "clean", "VENV=a b", cwd=clone)
    assert done.returncode != 0
    assert "must be one folder without spaces" in done.stderr


def test_make_clean_leaves_only_the_sources(clone):
    before = {p for p in clone.rglob("*") if p.is_file()}
    environments = (".venv/bin/python", ".venv-3.13/bin/python")
    for made in ("figures/a.png", "symrnn/__pycache__/a.pyc", *environments, "dist/a.whl"):
        (clone / made).parent.mkdir(parents=True)
        (clone / made).touch()
    assert run("make", "clean", cwd=clone).returncode == 0
    assert {p for p in clone.rglob("*") if p.is_file()} == before


def python_of(number, folder):
    """Make something that answers make's three questions as that Python would."""
    minor = number.split(".")[1]
    python = folder / f"python-{number}"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo Python {number} && exit 0\n'
        f"case $2 in *minor*) echo {minor};; *ensurepip*) exit {int(int(minor) > 14)};; esac\n"
    )
    python.chmod(0o755)
    return python


def test_make_tests_also_with_the_newest_python_that_fits(clone):
    found = [python_of(v, clone) for v in ("3.15.0", "3.14.2", "3.13.1", "3.12.4")]
    usual, newest, tried = found[3], found[1], " ".join(map(str, ["no-such-python", *found]))
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{usual}" "$@"\n')
    (clone / ".venv" / "bin" / "python").chmod(0o755)
    done = run("make", "--dry-run", "test-newest", f"NEWER={tried}", cwd=clone)
    assert done.returncode == 0, done.stderr
    assert f"make test with {newest}, Python 3.14.2, in .venv-3.14" in done.stdout.splitlines()
    assert ".venv-3.14/bin/python -m pytest" in done.stdout
    for older in ("no-such-python", str(usual), str(found[0])):
        done = run("make", "test-newest", f"NEWER={older}", cwd=clone)
        assert done.returncode == 0, done.stderr
        assert "none newer than 3.12 was found" in done.stdout
    assert not (clone / ".venv-3.14").exists()


@pytest.mark.slow
def test_make_tutorial_works_in_a_fresh_clone_with_an_empty_cache(clone, tmp_path):
    flags = f"base_compiledir={tmp_path / 'cache'}"
    done = run("make", "tutorial", f"PYTHON={sys.executable}", cwd=clone, PYTENSOR_FLAGS=flags)
    assert done.returncode == 0, done.stderr
    assert "529.6915 504.5684 475.3019 435.9507 362.6525 0.2677" in done.stdout
    assert (clone / "figures" / "02_cost_surface.png").exists()


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(clone, tmp_path):
    build = run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", cwd=clone)
    assert build.returncode == 0, build.stdout + build.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (source,) = (tmp_path / "dist").glob("*.tar.gz")

    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(clone)) for p in (clone / "symrnn").rglob("*.py")}
    assert not {n for n in modules if "lesson" in n}  # their scaffolding is in tutorials
    assert modules | {"symrnn/py.typed"} == {
        n for n in names if not n.split("/")[0].endswith("info")
    }
    assert any(n.endswith("licenses/LICENSE") for n in names)
    with tarfile.open(source) as archive:
        assert any(name.endswith("/README.md") for name in archive.getnames())

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    assert run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path).returncode == 0
    (lesson,) = (clone / "tutorials").glob("02_*.py")
    done = run(python, lesson, "--quick", "--figures", tmp_path / "figures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code = "import symrnn; print(symrnn.__file__); [getattr(symrnn, n) for n in symrnn.__all__]"
    done = run(python, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "venv") in done.stdout
    done = run(python, "-m", "symrnn", "--version", cwd=tmp_path)
    assert done.stdout == f"symrnn {version('symrnn')}\n", done.stderr
