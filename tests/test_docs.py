"""README and docs/: every program runs and learns, every picture and link is there."""

import re

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
