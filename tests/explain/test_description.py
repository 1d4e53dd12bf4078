"""Descriptions of scans: against what is written by hand."""

import json

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scan_gallery import VALUES, ZERO, each_case, fibonacci, number, scan

from symrnn.explain import describe, local_names, trace
from symrnn.explain.description import headline
from symrnn.nn.cells import LSTMCell
from symrnn.nn.recurrent import unroll


@each_case
def test_describe_says_what_is_written_by_hand(make):
    case = make()
    found = describe(case.outputs).scans[case.scan]
    assert [(a.name, a.kind) for a in found.arguments] == case.arguments
    assert found.equations == case.equations
    assert headline(found) == case.headline


def test_a_description_is_text_and_html_and_data():
    description = describe(fibonacci().outputs)
    assert str(description).splitlines() == [
        "a scan of 8 steps",
        "arguments of a step",
        "  f[t-2]  state                           starts with f0 (a vector, int64)",
        "  f[t-1]  state                           starts with f0 (a vector, int64)",
        "a step",
        "  f[t] = f[t-2] + f[t-1]",
        "results",
        "  f[t]    fed back as f[t-2] and f[t-1]   used: all steps",
    ] or str(description)
    assert "<td>f[t-2]</td>" in description._repr_html_()
    (data,) = json.loads(json.dumps(description.as_data()))
    assert data["results"] == [
        {"name": "f[t]", "kind": "fed back", "taps": [-2, -1], "used": "all steps"}
    ]


def test_a_description_tells_which_results_are_used():
    cell, x = LSTMCell(2, 3, rng=np.random.default_rng(0)), pt.tensor3("x")
    with local_names():
        outputs, state = unroll(cell, x, implementation="scan")
    used = [{r.name: r.used for r in describe(v).scans[0].results} for v in (outputs, state.c)]
    assert used[0] == {"h[t]": "all steps", "c[t]": "no"}
    assert used[1] == {"h[t]": "no", "c[t]": "the last step"}


def test_a_description_tells_where_the_gradient_is_truncated():
    x = pt.dvector("x")
    s = scan(lambda x_t, s: s + x_t, sequences=[x], outputs_info=[number(0.0)], truncate_gradient=4)
    assert headline(describe(s).scans[0]).endswith("its gradient is truncated after 4 steps")


def test_local_names_of_a_step_become_equations():
    def step(x_t, h):
        gate = pt.sigmoid(x_t)
        return gate * h

    x = pt.dvector("x")
    with local_names():
        h = scan(step, sequences=[x], outputs_info=[number(1.0)])
    h.name = "h"
    assert describe(h).scans[0].equations == ["gate = sigmoid(x[t])", "h[t] = gate * h[t-1]"]


def test_both_directions_in_one_scan_are_told_apart():
    x = pt.dvector("x")
    s = scan(lambda a, b, s: s + a * 2 + b, sequences=[x, x[::-1]], outputs_info=[ZERO])
    s.name = "s"
    (found,) = describe(s).scans
    assert found.equations == ["s[t] = s[t-1] + x[t] * 2 + x[::-1][t]"]
    assert headline(found) == "a scan of as many steps as x has"
    traced = trace(s, {x: VALUES})
    np.testing.assert_array_equal(traced["x[t]"], VALUES)
    np.testing.assert_array_equal(traced["x[::-1][t]"], VALUES[::-1])


@pytest.mark.parametrize("n", [3, None])
def test_a_known_number_of_steps_does_not_hide_names_and_direction(n):
    x = pt.dvector("x")
    s = scan(
        lambda a, b, s: s + a * b,
        sequences=[{"input": x, "taps": [-1, 1]}],
        outputs_info=[ZERO],
        n_steps=n,
        go_backwards=True,
    )
    s.name = "s"
    (found,) = describe(s).scans
    assert found.equations == ["s[t] = s[t-1] + x[t] * x[t+2]"]
    assert found.backwards
    np.testing.assert_array_equal(trace(s, {x: VALUES})["x[t+2]"][:3], VALUES[:1:-1])


def test_gradients_of_several_scans_have_their_own_names():
    x, u, v, q = pt.dvector("x"), pt.dvector("u"), pt.dscalar("v"), pt.dscalar("q")
    a = scan(lambda x, a, v: x + v * a, sequences=[x], outputs_info=[ZERO], non_sequences=[v])
    b = scan(lambda u, b, q: u + q * b, sequences=[u], outputs_info=[ZERO], non_sequences=[q])
    a.name, b.name = "a", "b"
    gradients = pytensor.grad(a.sum() + b.sum(), [x, u, v, q])
    names = {
        frozenset(r.name for r in s.results)
        for s in describe(gradients).scans
        if s.name.startswith("grad_of")
    }
    assert names == {
        frozenset({"d_a[t-1]", "d_v[t]", "d_x[t]"}),
        frozenset({"d_b[t-1]", "d_q[t]", "d_u[t]"}),
    }


M, NUMBERS = pt.dmatrix("M"), pt.lvector("i")


@pytest.mark.parametrize(
    ("step", "sequence", "text"),
    [
        (lambda a: a[:, None] - a[None, :], M, "M[t][:, None] - M[t]"),
        (lambda a: pt.outer(a, a), M, "M[t][:, None] @ M[t][None, :]"),
        (lambda i: M[:, i], NUMBERS, "M[:, i[t]]"),
        (lambda a: pt.split(a, splits_size=[1, 1], n_splits=2)[1], M, "split(M[t])[1]"),
        (lambda a: pt.concatenate([a, a[:1]]), M, "concatenate([M[t], M[t][:1]])"),
        (lambda a: pt.stack([a, a * 2]), M, "stack([M[t], M[t] * 2])"),
        (lambda a: pt.stack([a, a * 2], axis=1), M, "stack([M[t], M[t] * 2], axis=1)"),
        (lambda a: pt.set_subtensor(a[1:], 0.0), M, "set(M[t][1:], 0)"),
        (lambda a: pt.special.softmax(a, axis=0), M, "softmax(M[t], axis=0)"),
        (lambda a: (a > 1) | (a < 0) & (a > -1), M, "(M[t] > 1) | (M[t] < 0) & (M[t] > -1)"),
        (lambda a: ((a > 1) | (a < 0)) & (a > -1), M, "((M[t] > 1) | (M[t] < 0)) & (M[t] > -1)"),
        (lambda i: i * (i % 3), NUMBERS, "i[t] * (i[t] % 3)"),
        (lambda i: i * (i // 3), NUMBERS, "i[t] * (i[t] // 3)"),
        (lambda i: pt.eq(i > 0, i < 5), NUMBERS, "(i[t] > 0) == (i[t] < 5)"),
        (lambda i: ~(i > 0) & (i < 5), NUMBERS, "~(i[t] > 0) & (i[t] < 5)"),
        (lambda i: i - (i - 1), NUMBERS, "i[t] - (i[t] - 1)"),
        (lambda a: -(a**2) / (a / 2), M, "-M[t]**2 / (M[t] / 2)"),
    ],
)
def test_expressions_say_what_is_computed(step, sequence, text):
    y = scan(step, sequences=[sequence])
    y.name = "y"
    assert describe(y).scans[0].equations == [f"y[t] = {text}"]


def test_numbered_names_avoid_those_of_the_user():
    x, v1 = pt.dvector("x"), pt.dscalar("v1")

    def step(a, s, v1):
        t = pt.tanh(a * v1)
        return s + t + t**2

    s = pytensor.scan(
        step, sequences=[x], outputs_info=[ZERO], non_sequences=[v1], return_updates=False
    )
    s.name = "s"
    assert describe(s).scans[0].equations[0] == "v2 = tanh(x[t] * v1)"


def test_what_scan_returns_in_its_old_style_can_be_described():
    x = pt.dvector("x")
    with pytest.warns(DeprecationWarning, match="."):
        both = pytensor.scan(lambda a, s: s + a, sequences=[x], outputs_info=[ZERO])
    assert len(describe(both).scans) == 1
    with pytest.raises(TypeError, match="'q' is not a variable"):
        describe("q")
