"""README and docs/: every program runs and learns, every picture and link is there."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def programs():
    for page in PAGES:
        codes = re.findall(
            r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
        )
        for k, code in enumerate(codes):
            if "import symrnn" in code:
                yield pytest.param(code, id=f"{page.stem}-{k}")


@pytest.mark.parametrize("code", [*programs()])
def test_a_program_runs_as_it_stands_and_learns(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(code, {"__name__": "__main__"})
    losses = [float(line) for line in capsys.readouterr().out.splitlines()[:5]]
    assert losses[-1] < losses[0]


def test_the_first_page_has_a_program_and_stays_short():
    readme = PAGES[0].read_text(encoding="utf-8")
    assert readme.count("```python") == 1
    assert len(readme.splitlines()) <= 110


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_pictures_and_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        path = (page.parent / target).resolve()
        assert path.exists(), target
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")


def test_every_lesson_is_listed():
    listed = (ROOT / "docs" / "lessons.md").read_text(encoding="utf-8")
    for path in (ROOT / "tutorials").glob("[0-9][0-9]_*.py"):
        assert f"../tutorials/{path.name}" in listed


COMING_FROM = ROOT / "docs" / "coming_from.md"


def code_lines(code):
    lines = [line.strip() for line in code.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    return len(lines), sum(line.startswith(("import ", "from ")) for line in lines)


def compared():
    """Library, and the lines and imports of its two programs."""
    for section in COMING_FROM.read_text(encoding="utf-8").split("\n## ")[1:]:
        codes = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
        yield section.splitlines()[0], *(code_lines(code) for code in codes)


def test_the_lines_of_the_compared_programs_are_those_of_the_table():
    text, counted = COMING_FROM.read_text(encoding="utf-8"), {}
    for name, (first, imports), (second, more) in compared():
        assert f"| {name} | {first}, {imports} | {second}, {more} |" in text
        counted[name] = first, second
    ours = counted.pop("symrnn")
    for name, theirs in counted.items():
        if not name.startswith("Keras"):  # it is shorter, and the page says why
            assert ours[0] < theirs[0]
            assert ours[1] < theirs[1]


def peers_programs():
    for section in COMING_FROM.read_text(encoding="utf-8").split("\n## ")[1:]:
        for k, code in enumerate(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)):
            if "import symrnn" not in code:
                yield pytest.param(code, id=f"{section.split()[0]}-{k + 1}")


@pytest.mark.slow
@pytest.mark.parametrize("code", [*peers_programs()])
def test_a_program_of_another_library_runs_where_it_is_installed(code, tmp_path):
    name = re.search(r"(torch|keras|equinox|pytensor_ml)", code).group()
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"KERAS_BACKEND": "torch"}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = [float(line) for line in done.stdout.splitlines()[:5]]
    assert losses[-1] < losses[0]


def test_the_programs_of_readme_and_guide_are_the_compared_ones():
    ours = next(
        s for s in COMING_FROM.read_text(encoding="utf-8").split("\n## ") if s.startswith("symrnn")
    )
    codes = re.findall(r"```python\n(.*?)```", ours, flags=re.DOTALL)
    assert codes[0] in PAGES[0].read_text(encoding="utf-8")
    assert codes[1] in (ROOT / "docs" / "in_your_code.md").read_text(encoding="utf-8")
