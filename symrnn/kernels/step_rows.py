"""A cell's step, written for rows of numbers, and its gradient.

A cell is written for arrays ``(batch, n_hidden)``. As long as its step is elementwise, it can as
well be applied to rows of ``n_hidden * batch`` numbers. `step_rows` calls the step once, on
placeholders, and looks through the expressions that it returns: it writes them for rows,
differentiates them with `pytensor.grad`, and chooses what the forward pass saves for the backward
pass. `symrnn.kernels.recurrence` puts both into its loops. For ``h = tanh(z)`` the result is::

    gates [[z0]], states [s0]    placeholders of the sum z and of the state before
    new_states                   [tanh(z0)]
    saved, saved_values          [saved0], [tanh(z0)]
    d_states, d_gates            [d0], [[d0 * (1 - saved0**2)]]
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

from symrnn.kernels.elementwise import CHEAP

Step = Callable[..., Sequence[TensorVariable]]


class NotElementwiseError(Exception):
    """A step that does more than elementwise operations."""


class StepRows(NamedTuple):
    """A step on rows ``(n_hidden * batch,)``, and its gradient, as expressions of placeholders.

    Placeholders are `gates`, `states`, `update_masks`, `captured`, `saved` and `d_states`.
    """

    gates: list[list[TensorVariable]]
    """The sums ``[z]``, or the parts that come from the input and the state, ``[zx, zh]``; of each
    a row for every gate."""
    states: list[TensorVariable]
    """The state before the step."""
    update_masks: list[TensorVariable]
    """Which entries of a state the step may change."""
    captured: list[TensorVariable]
    """Arrays which the step uses without being given them, for example peephole weights. Boolean
    ones come last: they have no gradient."""
    captured_values: list[TensorVariable]
    """The arrays themselves."""
    new_states: list[TensorVariable]
    """The state after the step."""
    saved: list[TensorVariable]
    """What the backward pass needs of the forward pass, besides the states."""
    saved_values: list[TensorVariable]
    """What the forward pass saves for it."""
    d_states: list[TensorVariable]
    """Gradients with respect to the state after the step."""
    d_gates: list[list[TensorVariable]]
    """Gradients with respect to `gates`, given `d_states`."""
    d_old_states: list[TensorVariable]
    """Gradients with respect to `states`."""
    d_captured: list[TensorVariable]
    """Gradients with respect to those of `captured` that are not boolean."""


def step_rows(
    step: Step, n_gates: Sequence[int], n_states: int, n_masks: int, dtype: str
) -> StepRows:
    """Call a step on matrices, write what it does for rows, and differentiate that.

    Parameters
    ----------
    step
        ``step(gates, states, update_masks)`` returns the new states; `gates` is a list of tuples.
    n_gates
        How many gates: one number, for the sums ``z``, or two, for the parts that come from the
        input and from the state.
    n_states, n_masks
        How many arrays the state has, and how many update masks there are.
    dtype
        In which all is computed, constants and captured arrays too.

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
    update_masks = [placeholder(f"update_mask{k}", "bool") for k in range(n_masks)]
    new = step([tuple(part) for part in gates], states, update_masks)

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

    # the gradient of sum(d_states * new_states) is what one step hands to the step before it
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
        update_masks=[matrices[v] for v in update_masks],
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
    """Rewrites elementwise expressions of matrices ``(batch, n_hidden)`` for rows.

    Parameters
    ----------
    known
        The row for each placeholder.
    dtype
        That of the results.

    Attributes
    ----------
    captured
        Pairs of an array that does not depend on the placeholders, and its row.
    computed
        All results of operations, in the order in which they are computed.
    """

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
        """The dtype of a constant: its own, if that does not change the dtype of the step."""
        own = str(v.type.dtype)
        is_small = not own.startswith("float") and upcast(own, self.dtype) == self.dtype
        return own if is_small else self.dtype


class _Simplified:
    """Rewrites expressions of rows so that each is computed once, and none only tells a length.

    Parameters
    ----------
    computed
        Expressions of the forward pass, which the gradient uses too.
    """

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
