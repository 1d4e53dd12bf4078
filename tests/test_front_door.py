import inspect
import pydoc
import re
import subprocess
import sys

import pytest

import symrnn as sr


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("name", sr.__all__)
def test_every_name_of_the_front_door_is_there_and_explained(name):
    value = getattr(sr, name)
    assert value is vars(sr)[name]  # looked up once
    if inspect.ismodule(value) or inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)
        assert name in pydoc.render_doc(value)


def test_the_names_for_type_checkers_are_those_of_the_front_door():
    source = inspect.getsource(sr).split("if TYPE_CHECKING:")[1].split("_ROOMS = {")[0]
    names = {}
    exec(inspect.cleandoc(source), names)
    assert {n for n in names if not n.startswith("__")} == set(sr.__all__)
    for name in sr.__all__:
        assert names[name] is getattr(sr, name)


def test_a_wrong_name_is_an_attribute_error_with_a_suggestion():
    with pytest.raises(AttributeError, match="no attribute 'LSTM': did you mean LSTMCell"):
        sr.LSTM  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean adam or adamw"):
        sr.Adam  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'swish'$"):
        sr.swish  # noqa: B018
    assert run("import symrnn; print('unroll' in dir(symrnn))").strip() == "True"


def test_importing_symrnn_imports_neither_pytensor_nor_matplotlib():
    code = (
        "import sys, symrnn; "
        "print([m for m in ('pytensor', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_a_cell_does_not_import_models_plots_or_text():
    code = (
        "import sys, symrnn as sr; sr.LSTMCell, sr.unroll, sr.adam, sr.function; "
        "print([m for m in ('matplotlib', 'symrnn.models', 'symrnn.text', 'symrnn.explain') "
        "if m in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_help_shows_what_to_write():
    text = pydoc.render_doc(sr.unroll, renderer=pydoc.plaintext)
    assert "truncate_every: int | None = None" in text
    assert "hidden states h" in text.lower()
    text = pydoc.render_doc(sr.LSTMCell, renderer=pydoc.plaintext)
    signature = re.sub(r"[|\s]+", " ", text)  # newer Pythons write one argument a line
    assert "gates='ifo', peepholes=False, rng=None, W_x=None, W_h=None, bias=True" in signature


def test_an_error_within_a_module_is_not_taken_for_a_missing_name(monkeypatch):
    def broken(module):
        raise AttributeError(f"within {module}")

    monkeypatch.delitem(vars(sr), "adam", raising=False)
    monkeypatch.setattr(sr, "import_module", broken)
    with pytest.raises(AttributeError, match=r"within symrnn\.training\.optimizers"):
        sr.adam  # noqa: B018
