"""A cell's step, written for rows of numbers, and its gradient.

A cell is written for arrays ``(batch, n_hidden)``. As long as its step is elementwise, it can as
well be applied to rows of ``n_hidden * batch`` numbers, and `pytensor.grad` can differentiate it
there: once, as a piece of algebra on placeholders, which `symrnn.bptt` then uses at every step.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.scalar.basic import Second
from pytensor.tensor.basic import get_underlying_scalar_constant_value
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.variable import TensorVariable

from symrnn.elementwise import CHEAP

Step = Callable[..., Sequence[TensorVariable]]


class NotElementwiseError(Exception):
    """A step that does more than elementwise operations."""


class StepRows(NamedTuple):
    """What a step does to rows, as expressions of placeholders, and its gradient."""

    gates: list[list[TensorVariable]]
    """The sums ``[z]``, or what comes from the input and from the state, ``[zx, zh]``."""
    states: list[TensorVariable]
    renewed: list[TensorVariable]
    captured: list[TensorVariable]
    captured_values: list[TensorVariable]
    """Arrays which the step uses without being given them, for example peephole weights."""
    new_states: list[TensorVariable]
    saved: list[TensorVariable]
    saved_values: list[TensorVariable]
    """What is remembered for the way back."""
    d_states: list[TensorVariable]
    d_gates: list[list[TensorVariable]]
    d_old_states: list[TensorVariable]
    d_captured: list[TensorVariable]
    """Gradients with respect to gates, states and captured arrays, given `d_states`."""


def step_rows(
    step: Step, n_gates: int, additive: bool, n_states: int, n_renewed: int, dtype: str
) -> StepRows:
    """Try the step on matrices, write what it does for rows, and differentiate that.

    Raises
    ------
    NotElementwiseError
        If the step contains a product, a sum over features or the like.
    """
    matrices: dict[Variable, TensorVariable] = {}

    def placeholder(name: str, kind: str = dtype) -> TensorVariable:
        matrix = pt.tensor(name, dtype=kind, shape=(None, None))
        matrices[matrix] = pt.tensor(name, dtype=kind, shape=(None,))
        return matrix

    parts = ["z"] if additive else ["zx", "zh"]
    gates = [[placeholder(f"{part}{k}") for k in range(n_gates)] for part in parts]
    states = [placeholder(f"s{k}") for k in range(n_states)]
    renewed = [placeholder(f"renewed{k}", "bool") for k in range(n_renewed)]
    new = step([tuple(part) for part in gates], states, renewed)

    row_of = _Rows(matrices)
    new_rows = [row_of(v) for v in new]
    gate_rows = [[matrices[v] for v in part] for part in gates]
    state_rows = [matrices[v] for v in states]
    captured_rows = [row for _, row in row_of.captured]

    # the gradient of sum(d_states * new_states) is what flows back through one step
    d_states = [pt.tensor(f"d{k}", dtype=dtype, shape=(None,)) for k in range(n_states)]
    all_gates = [gate for part in gate_rows for gate in part]
    wrt = [*all_gates, *state_rows, *captured_rows]
    gradients = pytensor.grad(
        sum((d * s).sum() for d, s in zip(d_states, new_rows, strict=True)),
        wrt,
        consider_constant=d_states,
        disconnected_inputs="ignore",
    )
    simplified = _Simplified(row_of.computed)
    gradients = [simplified(g) for g in gradients]
    gradients = [g if g.type.ndim else pt.second(d_states[0], g) for g in gradients]
    used = set(ancestors(gradients))
    saved_values = [
        v for v in row_of.computed if v in used and type(v.owner.op.scalar_op) not in CHEAP
    ]
    saved = [v.type(name=f"saved{k}") for k, v in enumerate(saved_values)]
    gradients = graph_replace(gradients, dict(zip(saved_values, saved, strict=True)), strict=False)
    used = set(ancestors(gradients))
    saved_gates = [v for v in all_gates if v in used]
    next_gradient = iter(gradients).__next__
    return StepRows(
        gates=gate_rows,
        states=state_rows,
        renewed=[matrices[v] for v in renewed],
        captured=captured_rows,
        captured_values=[v for v, _ in row_of.captured],
        new_states=new_rows,
        saved=saved + saved_gates,
        saved_values=saved_values + saved_gates,
        d_states=d_states,
        d_gates=[[next_gradient() for _ in part] for part in gate_rows],
        d_old_states=[next_gradient() for _ in state_rows],
        d_captured=[next_gradient() for _ in captured_rows],
    )


class _Rows:
    """Rewrites elementwise expressions of matrices ``(batch, n_hidden)`` for rows."""

    def __init__(self, known: dict[Variable, TensorVariable]) -> None:
        self.given = set(known)
        self.known = dict(known)
        self.captured: list[tuple[Variable, TensorVariable]] = []
        self.computed: list[TensorVariable] = []

    def __call__(self, v: Variable) -> TensorVariable:
        if v not in self.known:
            self.known[v] = self._row(v)
        return self.known[v]

    def _row(self, v: Variable) -> TensorVariable:
        number = get_underlying_scalar_constant_value(v, raise_not_constant=False)
        if isinstance(number, np.ndarray | np.generic):
            return pt.constant(number)
        if self.given.isdisjoint(ancestors([v])):
            if not v.type.dtype.startswith("float"):
                raise NotElementwiseError(f"{v} of dtype {v.type.dtype}")
            row = pt.tensor(v.name, dtype=v.type.dtype, shape=(None,))
            self.captured.append((v, row))
            return row
        if not isinstance(v.owner.op, Elemwise):
            raise NotElementwiseError(f"{v.owner.op}")
        row = v.owner.op(*(self(operand) for operand in v.owner.inputs))
        self.computed.append(row)
        return row


class _Simplified:
    """Rewrites expressions of rows: each is computed once, without what only tells a length."""

    def __init__(self, computed: Sequence[TensorVariable]) -> None:
        self.known: dict[Variable, Variable] = {v: v for v in computed}
        self.by_operation = {(v.owner.op, *v.owner.inputs): v for v in computed}

    def __call__(self, v: Variable) -> Variable:
        if v.owner is None:
            return v
        if v not in self.known:
            operands = [self(operand) for operand in v.owner.inputs]
            op = v.owner.op
            if isinstance(op, DimShuffle):
                self.known[v] = operands[0]
            elif isinstance(op, Elemwise) and isinstance(op.scalar_op, Second):
                self.known[v] = operands[1]
            else:
                key = (op, *operands)
                if key not in self.by_operation:
                    self.by_operation[key] = op(*operands)
                self.known[v] = self.by_operation[key]
        return self.known[v]
