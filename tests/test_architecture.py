"""The order of the rooms, read from the imports; docs/architecture.md names every module."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "symrnn"
# From top to bottom. A module may import from its own room and from rooms below, but not from rooms
# above or beside it.
ROOMS = (
    ("cli", "search"),
    ("models",),
    ("interop",),
    ("explain", "plots"),
    ("training",),
    ("nn",),
    ("kernels",),
    ("compiling",),
    ("tasks",),
    ("text",),
    ("_validate", "_files"),
)
LEVEL = {room: level for level, rooms in enumerate(reversed(ROOMS)) for room in rooms}
# Who may import a module of kernels, and why.
DOORS_OF_KERNELS = {
    "symrnn.nn": "registers the rewrites",
    "symrnn.nn.recurrent": "unrolls a cell with the kernel",
    "symrnn.nn.inputs": "checks a sequence's shape with an operation that mode JAX can refuse",
    "symrnn.explain.plain": "writes the kernel's loop out as a plain scan, to show its steps",
}
# Who may import the front door, and what.
DOORS_OF_THE_PACKAGE = {
    "symrnn.__main__": "symrnn.__version__",  # --version
    "symrnn.training.checkpoint": "symrnn.__version__",  # written into every file
}


def module_name(path: Path) -> str:
    """Return symrnn.nn.cells for symrnn/nn/cells.py, and symrnn.nn for symrnn/nn/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a module, also those within functions, but not what only mypy reads."""
    yield tree
    typing_only = isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING")
    for child in tree.orelse if typing_only else ast.iter_child_nodes(tree):
        yield from executed(child)


def imported_names(source: str) -> set[str]:
    """Return the full names that a module imports: symrnn.nn.cells.Cell, pytensor.tensor."""
    names = set()
    for node in executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import, {ast.unparse(node)}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    return names


NAMES = {module: imported_names(path.read_text("utf-8")) for module, path in MODULES.items()}


def module_of(name: str) -> str:
    """Return the module that an imported name is, or is in."""
    return name if name in MODULES else name.rpartition(".")[0]


IMPORTS = {
    module: {module_of(name) for name in names if name.split(".")[0] == "symrnn"}
    for module, names in NAMES.items()
}


def room(module: str) -> str:
    """Return the first name below symrnn; python -m symrnn belongs to the command line."""
    return "cli" if module == "symrnn.__main__" else module.split(".")[1]


def test_the_imports_of_a_module_are_read_also_within_functions_but_not_those_for_types():
    assert imported_names(
        "import typing, a.b\n"
        "if typing.TYPE_CHECKING:\n    import c\nelse:\n    import d\n"
        "def f():\n    from e.f import g, h as i\n    importlib.import_module('j.k')\n"
    ) == {"typing", "a.b", "d", "e.f.g", "e.f.h", "j.k"}


def test_every_module_is_in_a_room_that_the_wheel_has():
    assert {room(module) for module in MODULES if module != "symrnn"} == set(LEVEL)
    without = {path.parent for path in MODULES.values()} - {
        path.parent for path in MODULES.values() if path.name == "__init__.py"
    }
    assert not without, f"folders without an __init__.py: {without}"


def test_imports_point_down_only():
    upwards = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        for target in targets - {"symrnn"}
        if room(module) != room(target) and LEVEL[room(module)] <= LEVEL[room(target)]
    ]
    assert not upwards


def test_the_front_door_imports_nothing_and_nothing_inside_goes_through_it():
    eager = [
        ast.unparse(node)
        for node in ast.parse(MODULES["symrnn"].read_text("utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom) and "symrnn" in ast.unparse(node)
    ]
    assert not eager
    through = {
        module: name
        for module, names in NAMES.items()
        for name in names
        if name.split(".")[0] == "symrnn" and module_of(name) == "symrnn"
    }
    assert through == DOORS_OF_THE_PACKAGE


def test_no_module_imports_itself_through_others():
    edges = {m: targets - {"symrnn"} for m, targets in IMPORTS.items() if m != "symrnn"}
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_only_a_few_modules_import_those_of_kernels():
    found = {
        module
        for module, targets in IMPORTS.items()
        if module != "symrnn" and room(module) != "kernels"
        if any(room(target) == "kernels" for target in targets - {"symrnn"})
    }
    assert found == set(DOORS_OF_KERNELS)


def test_texts_and_tasks_do_without_pytensor():
    rooms = ("text", "tasks", "_validate", "_files")
    modules = [module for module in MODULES if module != "symrnn" and room(module) in rooms]
    for module in modules:
        assert not {name for name in NAMES[module] if name.split(".")[0] == "pytensor"}, module
    code = f"import sys, {', '.join(modules)}; sys.exit('pytensor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_the_map_of_the_repository_names_every_module_and_no_other():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    by_task, by_room = text.split("\n## Rooms")
    assert len(text.splitlines()) <= 120
    files = {str(path.relative_to(PACKAGE)) for path in MODULES.values()}
    files = {file for file in files if Path(file).name not in ("__init__.py", "__main__.py")}
    listed, folder = [], ""
    for line in by_room.splitlines():
        if line.startswith("### "):
            folder = next(iter(re.findall(r"^### `(\w+/)`", line)), "")
        if line.startswith(("### ", "- ")):
            listed += [folder + name for name in re.findall(r"`([\w/]+\.py)`", line)]
    assert set(listed) - files == set(), "there are no such files"
    assert files - set(listed) == set(), "these are not named"
    assert len(listed) == len(files), "some are named twice"
    table = [line for line in by_task.splitlines() if line.startswith("|")]
    assert set(re.findall(r"`([\w/]+\.py)`", "".join(table))) <= {*files, "__init__.py"}


def test_the_map_of_the_repository_has_the_rooms_in_their_order():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    headings = re.findall(r"^### (.*?):", text, re.MULTILINE)
    rooms = [room for heading in headings for room in re.findall(r"`(\w+)(?:/|\.py)`", heading)]
    assert rooms == [room for beside in ROOMS for room in beside]
