"""Find the first NaN or infinity: in which scan, which step, and which expression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import explicit_graph_inputs
from pytensor.scan.op import Scan
from pytensor.tensor.subtensor import Subtensor

from symrnn.compiling.modes import QUICK
from symrnn.explain.anatomy import Anatomy
from symrnn.explain.dissection import anatomies
from symrnn.explain.equations import named_steps
from symrnn.explain.expressions import ExpressionPrinter
from symrnn.explain.graphs import as_variables
from symrnn.explain.inputs import outer_values, unchanged, values_of
from symrnn.explain.plain import with_plain_scans
from symrnn.explain.running import CHUNK, Run
from symrnn.explain.tracing import show


@dataclass(frozen=True)
class NonFinite:
    """Origin of the first value that is NaN or infinite, returned by `first_nonfinite`.

    Print it for an explanation.
    """

    scan: str
    """The scan, in words."""
    step: int
    """The step, counted from 0; -1 after the scans."""
    name: str
    """The argument or expression."""
    comes_from: str
    """``"the step"`` if an expression computes it from finite values, ``"outside"`` if an argument
    or constant holds it, ``"after"`` if all scans are finite."""
    value: Any = field(repr=False)
    inputs: dict[str, Any] = field(repr=False)
    """Values of the operands of the expression, by name."""
    source: str = ""
    """Where an argument comes from."""

    def __str__(self) -> str:
        if self.comes_from == "after":
            what = f"{self.name}, computed from their results"
            return f"all scans are finite, but {what}, is not: {show(self.value)}"
        lines = [f"the first value that is not finite is in step {self.step} of {self.scan}:"]
        lines.append(f"  {self.name} is {show(self.value)}")
        if self.comes_from == "outside":
            lines.append(f"  it enters the step from outside: {self.source or 'a constant'}")
        lines += [f"  where {name} is {show(value)}" for name, value in self.inputs.items()]
        return "\n".join(lines)


def first_nonfinite(
    variable: Variable | Sequence[Variable],
    inputs: Mapping[Any, Any] | None = None,
    *,
    nan_only: bool = False,
    mode: Mode | str = QUICK,
) -> NonFinite | None:
    """Find the first step, and in it the first expression, that is NaN or infinite.

    Give it a gradient to search the scan that computes the gradient too. All that a scan's step
    computes is searched, also values that the variable itself does not depend on.

    Parameters
    ----------
    variable
        What `pytensor.scan` returned, or anything computed from it, or a list of such variables.
    inputs
        Values of the graph's inputs, by variable or by name. Shared variables keep their values.
    nan_only
        Ignore infinities, for scans that work with them: a running maximum may start at minus
        infinity.
    mode
        Mode of compilation. The default compiles no code and starts at once.

    Returns
    -------
    NonFinite or None
        None if everything in all scans behind the variable is finite.

    Examples
    --------
    >>> import pytensor, pytensor.tensor as pt
    >>> x = pt.dvector("x")
    >>> def step(x_t, s):
    ...     return s + pt.log(x_t - 1)
    >>> s = pytensor.scan(step, sequences=[x], outputs_info=[pt.constant(0.0, dtype="float64")],
    ...                   return_updates=False)
    >>> print(first_nonfinite(s, {x: [3, 2, 1]}))
    the first value that is not finite is in step 2 of a scan:
      log(x[t] - 1) is -inf
      where x[t] - 1 is 0
    """
    variables, inputs = with_plain_scans(as_variables(variable)), inputs or {}
    for scan in anatomies(variables):
        given = outer_values(scan.node, variables, inputs, mode)
        run = Run(scan, given, everything=True, mode=mode)
        found = _in_run(run, nan_only, mode)
        if found is not None:
            return found
    return _after(variables, inputs, nan_only, mode)


def _in_run(run: Run, nan_only: bool, mode: Any) -> NonFinite | None:
    """The first value of one scan that is not finite."""
    scan = run.scan
    for name, value in run.constants.items():
        if not _good_rows(np.asarray(value)[None], nan_only)[0]:
            return NonFinite(scan.title, 0, name, "outside", value, {})
    length = max(1, CHUNK // max(run.bytes_per_step, 1))
    for start, _, found in run.chunks(run.n_steps, length):
        bad = {name: ~_good_rows(values, nan_only) for name, values in found.items()}
        steps = [int(np.argmax(rows)) for rows in bad.values() if rows.any()]
        if steps:
            row = min(steps)
            name = next(name for name, rows in bad.items() if rows[row])
            at = {n: values[row] for n, values in found.items()} | run.constants
            return _explained(run, start + row, name, at, nan_only, mode)
    return None


def _explained(
    run: Run, step: int, name: str, at: Mapping[str, Any], nan_only: bool, mode: Any
) -> NonFinite:
    """Say where the value `name` of a step, whose values are `at`, comes from."""
    scan, v = run.scan, dict(run.wanted).get(name)
    inside = _inside(scan, v, at, nan_only, mode)
    if inside is not None:
        return replace(inside, scan=f"{inside.scan} inside step {step} of {scan.title}")
    arguments = {a.inner: a.name for a in scan.arguments}
    source = next((a.source for a in scan.arguments if a.name == name), "")
    if v is None:
        return NonFinite(scan.title, step, name, "outside", at[name], {}, source)
    name_of = arguments | {u: n for n, u in run.wanted}
    operands = [] if v.owner is None else [name_of[i] for i in v.owner.inputs if i in name_of]
    values = {n: at[n] for n in dict.fromkeys(operands) if n in at}
    named = arguments | {u: n for n, u in named_steps(list(arguments), scan.outputs, arguments)}
    text = name
    if v in named:  # what has a name is shown with its expression
        others = {u: n for u, n in named.items() if u is not v}
        text = f"{named[v]} = {ExpressionPrinter(others)(v)}"
    return NonFinite(scan.title, step, text, "the step", at[name], values, source)


def _after(
    variables: Sequence[Variable], inputs: Mapping[Any, Any], nan_only: bool, mode: Any
) -> NonFinite | None:
    """What is not finite though all scans are: it is computed from their results."""
    needed = list(explicit_graph_inputs(variables))
    needed, values = values_of(needed, needed, inputs)
    function = pytensor.function(needed, list(variables), mode=mode, updates=unchanged(variables))
    for v, value in zip(variables, function(*values), strict=True):
        if not _good_rows(np.asarray(value)[None], nan_only)[0]:
            name = v.name or ExpressionPrinter({}, brief=True)(v)
            return NonFinite("", -1, name[:80], "after", value, {})
    return None


def _inside(
    scan: Anatomy, v: Variable | None, at: Mapping[str, Any], nan_only: bool, mode: Any
) -> NonFinite | None:
    """The first value that is not finite in a scan inside the step, if `v` is its result."""
    while v is not None and v.owner is not None and isinstance(v.owner.op, Subtensor):
        v = v.owner.inputs[0]
    if v is None or v.owner is None or not isinstance(v.owner.op, Scan):
        return None
    fresh = {a.inner: a.inner.type(a.name) for a in scan.arguments if a.name in at}
    (inner,) = clone_replace([v], fresh)
    needed = set(explicit_graph_inputs([inner]))
    values = {fresh[a.inner]: at[a.name] for a in scan.arguments if fresh.get(a.inner) in needed}
    return first_nonfinite(inner, values, nan_only=nan_only, mode=mode)


def _good_rows(values: Any, nan_only: bool) -> Any:
    """Which steps have only finite values."""
    if np.asarray(values).dtype.kind not in "fc":
        return np.ones(len(values), dtype=bool)
    good = ~np.isnan(values) if nan_only else np.isfinite(values)
    return good.reshape(len(values), -1).all(axis=1)
