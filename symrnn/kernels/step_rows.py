"""A cell's step, written for rows of numbers, and its gradient.

A cell is written for arrays ``(batch, n_hidden)``. As long as its step is elementwise, it can as
well be applied to rows of ``n_hidden * batch`` numbers, and `pytensor.grad` can differentiate it
there: once, as a piece of algebra on placeholders, which `symrnn.kernels.recurrence` then uses at every step.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import ancestors
from pytensor.scalar.basic import Log, Log1p, Second, upcast
from pytensor.tensor.basic import get_underlying_scalar_constant_value
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.variable import TensorVariable

from symrnn.kernels.fusion import CHEAP

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
    """Arrays which the step uses without being given them, for example peephole weights; truth
    values last, which have no gradient."""
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
    step: Step, n_gates: Sequence[int], n_states: int, n_renewed: int, dtype: str
) -> StepRows:
    """Try the step on matrices, write what it does for rows, and differentiate that.

    `n_gates` has one number, of the sums ``z``, or two, of what comes from the input and from the
    state. All is computed in `dtype`, constants and captured arrays too.

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

    parts = zip(["zx", "zh"], n_gates, strict=False)
    gates = [[placeholder(f"{part}{k}") for k in range(n)] for part, n in parts]
    states = [placeholder(f"s{k}") for k in range(n_states)]
    renewed = [placeholder(f"renewed{k}", "bool") for k in range(n_renewed)]
    new = step([tuple(part) for part in gates], states, renewed)

    row_of = _Rows(matrices, dtype)
    new_rows = [row_of(v) for v in new]
    gate_rows = [[matrices[v] for v in part] for part in gates]
    state_rows = [matrices[v] for v in states]
    new_rows = [r if r.type.ndim else pt.second(state_rows[0], r) for r in new_rows]
    computed = row_of.computed
    if any(isinstance(v.owner.op.scalar_op, Log | Log1p) for v in computed):
        # log(1 + exp(x)) = softplus(x) and the like, before exp(x) is saved and overflows
        new_rows = rewrite_graph(new_rows, include=("canonicalize", "stabilize"))
        computed = [v for v in ancestors(new_rows) if v.owner and isinstance(v.owner.op, Elemwise)]
    captured = sorted(row_of.captured, key=lambda pair: pair[1].type.dtype == "bool")
    captured_rows = [row for _, row in captured]
    captured_numbers = [row for row in captured_rows if row.type.dtype == dtype]

    # the gradient of sum(d_states * new_states) is what flows back through one step
    d_states = [pt.tensor(f"d{k}", dtype=dtype, shape=(None,)) for k in range(n_states)]
    all_gates = [gate for part in gate_rows for gate in part]
    wrt = [*all_gates, *state_rows, *captured_numbers]
    gradients = pytensor.grad(
        sum((d * s).sum() for d, s in zip(d_states, new_rows, strict=True)),
        wrt,
        consider_constant=d_states,
        disconnected_inputs="ignore",
    )
    simplified = _Simplified(computed)
    gradients = [simplified(g).astype(dtype) for g in gradients]
    gradients = [g if g.type.ndim else pt.second(d_states[0], g) for g in gradients]
    used = set(ancestors(gradients))
    saved_values = [
        v
        for v in computed
        if v in used and v.type.dtype == dtype and type(v.owner.op.scalar_op) not in CHEAP
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
        captured_values=[v for v, _ in captured],
        new_states=new_rows,
        saved=saved + saved_gates,
        saved_values=saved_values + saved_gates,
        d_states=d_states,
        d_gates=[[next_gradient() for _ in part] for part in gate_rows],
        d_old_states=[next_gradient() for _ in state_rows],
        d_captured=[next_gradient() for _ in captured_numbers],
    )


class _Rows:
    """Rewrites elementwise expressions of matrices ``(batch, n_hidden)`` for rows."""

    def __init__(self, known: dict[Variable, TensorVariable], dtype: str) -> None:
        self.dtype = dtype
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
            return pt.constant(number, dtype=self._dtype(v))
        if self.given.isdisjoint(ancestors([v])):
            v = v.astype("bool" if v.type.dtype == "bool" else self.dtype)
            row = pt.tensor(v.name, dtype=v.type.dtype, shape=(None,))
            self.captured.append((v, row))
            return row
        if not isinstance(v.owner.op, Elemwise):
            raise NotElementwiseError(f"{v.owner.op}")
        row = v.owner.op(*(self(operand) for operand in v.owner.inputs))
        self.computed.append(row)
        return row

    def _dtype(self, v: Variable) -> str:
        """The dtype of a constant that does not make another one of the step's."""
        own = str(v.type.dtype)
        is_small = not own.startswith("float") and upcast(own, self.dtype) == self.dtype
        return own if is_small else self.dtype


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
