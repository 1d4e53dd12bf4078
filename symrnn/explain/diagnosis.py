"""Find out where a scan goes wrong: the first NaN, and what becomes of the gradient over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace, graph_replace
from pytensor.graph.traversal import explicit_graph_inputs
from pytensor.scan.op import Scan
from pytensor.tensor.subtensor import Subtensor
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.modes import QUICK
from symrnn.explain.anatomy import Anatomy, anatomies
from symrnn.explain.equations import Writer, named_steps
from symrnn.explain.graphs import as_variables, inner_graph, readable
from symrnn.explain.running import CHUNK, Run, as_they_are, outer_values, results_of, values_of
from symrnn.explain.tracing import show


@dataclass(frozen=True)
class NonFinite:
    """Where the first value that is NaN or infinite comes from; print it."""

    scan: str
    """Which scan."""
    step: int
    name: str
    """The argument or expression."""
    comes_from: str
    """``"the step"`` if an expression makes it of finite values, else ``"outside"``; ``"after"``
    the scans if all of them are finite."""
    value: Any = field(repr=False)
    inputs: dict[str, Any] = field(repr=False)
    """Values of what the expression is made of, by name."""
    source: str = ""
    """Where an argument comes from."""

    def __str__(self) -> str:
        if self.comes_from == "after":
            return f"all scans are finite, but {self.name}, made of their results, is not: " + show(
                self.value
            )
        lines = [f"the first value that is not finite is in step {self.step} of {self.scan}:"]
        lines.append(f"  {self.name} is {show(self.value)}")
        if self.comes_from == "outside":
            lines.append(f"  it comes into the step from outside: {self.source or 'it is given'}")
        lines += [f"  where {name} is {show(value)}" for name, value in self.inputs.items()]
        return "\n".join(lines)


def first_nonfinite(
    variable: Variable | Sequence[Variable],
    inputs: Mapping[Any, Any] | None = None,
    mode: Mode | str = QUICK,
    infinite: bool = True,
) -> NonFinite | None:
    """Find the first step, and in it the first expression, that is NaN or infinite.

    Give it a gradient to look into the scan that computes it too. Everything that a scan's step
    computes is looked at, also what the variable itself does not depend on.

    Parameters
    ----------
    variable, inputs, mode
        As of `symrnn.explain.trace`.
    infinite
        False looks for NaN alone: some scans work with infinities, for example a running maximum
        that starts at minus infinity.

    Returns
    -------
    NonFinite or None
        None if everything in all scans behind the variable is finite.

    Raises
    ------
    ValueError
        As `symrnn.explain.trace`.

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
    asking = readable(as_variables(variable))
    for scan in anatomies(asking):
        given = outer_values(scan.node, asking, dict(inputs or {}), mode)
        run = Run(scan, given, True, mode)
        variables = dict(run.wanted)
        name_of = {a.inner: a.name for a in scan.arguments} | {v: n for n, v in run.wanted}
        own = {a.inner: a.name for a in scan.arguments}
        own |= {v: n for n, v in named_steps(list(own), results_of(scan), own)}
        what = scan.title
        for name, value in run.constants.items():
            if not _good_rows(np.asarray(value)[None], infinite)[0]:
                return NonFinite(what, 0, name, "outside", value, {})
        length = max(1, CHUNK // max(run.bytes_a_step, 1))
        for start, _, series in run.series(run.n_steps, length):
            bad = {name: ~_good_rows(values, infinite) for name, values in series.items()}
            steps = [int(np.argmax(rows)) for rows in bad.values() if rows.any()]
            if not steps:
                continue
            row = min(steps)
            name = next(name for name, rows in bad.items() if rows[row])
            at = {n: values[row] for n, values in series.items()} | run.constants
            v = variables.get(name)
            inside = _inside(scan, v, at, mode, infinite)
            if inside is not None:
                return replace(inside, scan=f"{inside.scan} inside step {start + row} of {what}")
            parts = [] if v is None or v.owner is None else _parts(v, name_of)
            source = next((a.source for a in scan.arguments if a.name == name), "")
            return NonFinite(
                what,
                start + row,
                _with_expression(name, v, own),
                "outside" if v is None else "the step",
                at[name],
                {n: at[n] for n in parts if n in at},
                source,
            )
    return _after(asking, dict(inputs or {}), mode, infinite)


def _after(
    asking: Sequence[Variable], inputs: dict[Any, Any], mode: Any, infinite: bool
) -> NonFinite | None:
    """What is not finite though all scans are: it is computed from their results."""
    needed = list(explicit_graph_inputs(asking))
    needed, values = values_of(needed, needed, inputs)
    function = pytensor.function(needed, list(asking), mode=mode, updates=as_they_are(asking))
    for v, value in zip(asking, function(*values), strict=True):
        if not _good_rows(np.asarray(value)[None], infinite)[0]:
            name = v.name or Writer({}, brief=True)(v)
            return NonFinite("", -1, name[:80], "after", value, {})
    return None


def _inside(
    scan: Anatomy, v: Variable | None, at: Mapping[str, Any], mode: Any, infinite: bool
) -> NonFinite | None:
    """Look into a scan that stands in the step, if the value comes out of it."""
    while v is not None and v.owner is not None and isinstance(v.owner.op, Subtensor):
        v = v.owner.inputs[0]
    if v is None or v.owner is None or not isinstance(v.owner.op, Scan):
        return None
    fresh = {a.inner: a.inner.type(a.name) for a in scan.arguments if a.name in at}
    (inner,) = clone_replace([v], fresh)
    needed = set(explicit_graph_inputs([inner]))
    values = {fresh[a.inner]: at[a.name] for a in scan.arguments if fresh.get(a.inner) in needed}
    return first_nonfinite(inner, values, mode, infinite)


def _parts(v: Variable, name_of: Mapping[Variable, str]) -> list[str]:
    """Names of what an expression is made of."""
    return list(dict.fromkeys(name_of[i] for i in v.owner.inputs if i in name_of))


def _with_expression(name: str, v: Variable | None, own: Mapping[Variable, str]) -> str:
    """The expression, with its name if it has one; `own` are names that are no expressions."""
    if v is None or v not in own:
        return name
    return f"{own[v]} = {Writer({u: n for u, n in own.items() if u is not v})(v)}"


def _good_rows(values: Any, infinite: bool) -> Any:
    """Which steps' values are all right."""
    if np.asarray(values).dtype.kind not in "fc":
        return np.ones(len(values), dtype=bool)
    good = np.isfinite(values) if infinite else ~np.isnan(values)
    return good.reshape(len(values), -1).all(axis=1)


def gradient_flow(
    loss: TensorVariable,
    states: TensorVariable | Sequence[TensorVariable],
    inputs: Mapping[Any, Any] | None = None,
    mode: Mode | str = QUICK,
) -> Any:
    """How large the gradient of the loss with respect to the state of each step is.

    ``|dL/dh_t|``, the norm over all samples and units: what reaches step t from all later steps.
    It falls towards the beginning where gradients vanish, and rises where they explode (Bengio et
    al., 1994; Pascanu et al., 2013).

    Parameters
    ----------
    loss
        A scalar that depends on the states.
    states
        What `pytensor.scan` returned for a state (something that is fed back), or `unroll`'s
        outputs; or a list of such.
    inputs, mode
        As of `symrnn.explain.trace`.

    Returns
    -------
    numpy.ndarray
        Shape ``(time,)``; for a list of states, a list of such. Step 0 is the first the scan makes.

    Raises
    ------
    ValueError
        If there is no fed-back state behind `states`, or the loss does not depend on it, or as
        `symrnn.explain.trace`.

    Examples
    --------
    Each step of this one halves the gradient.

    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> x = pt.dvector("x")
    >>> h = pytensor.scan(lambda x_t, h: x_t + h / 2, sequences=[x],
    ...                   outputs_info=[pt.constant(0.0, dtype="float64")], return_updates=False)
    >>> gradient_flow(h[-1], h, {x: np.ones(4)}).tolist()
    [0.125, 0.25, 0.5, 1.0]
    """
    wanted = [states] if isinstance(states, Variable) else list(states)
    loss, *found = readable([loss, *wanted])
    if loss.type.ndim != 0:
        raise ValueError(f"the loss has {loss.type.ndim} axes, but must be a scalar")
    norms = []
    for state in found:
        node, k = _state_behind(state)
        moved, pushes = _with_pushes(node, k)
        (new_loss,) = graph_replace(
            [loss], dict(zip(node.outputs, moved, strict=True)), strict=False
        )
        try:
            d = pytensor.grad(new_loss, pushes)
        except pytensor.gradient.DisconnectedInputError:
            raise ValueError(f"the loss does not depend on {state}") from None
        norm = pt.sqrt((d**2).sum(axis=tuple(range(1, d.type.ndim))))
        norms.append(norm[: _n_made(node, k)])  # fewer than asked for, if it ends itself
    known = list(explicit_graph_inputs([loss, *found]))
    needed, values = values_of(list(explicit_graph_inputs(norms)), known, dict(inputs or {}))
    function = pytensor.function(needed, norms, mode=mode, updates=as_they_are(norms))
    results = function(*values)
    return results[0] if isinstance(states, Variable) else results


def _state_behind(v: Variable) -> tuple[Any, int]:
    """The scan and the number of its output that a variable shows, through slices and masks."""
    seen, found = [v], []
    for u in seen:
        if u.owner is None:
            continue
        if isinstance(u.owner.op, Scan):
            info = u.owner.op.info
            k = u.owner.outputs.index(u) - info.n_mit_mot
            if 0 <= k < info.n_mit_sot + info.n_sit_sot and (u.owner, k) not in found:
                found.append((u.owner, k))
            continue
        seen.extend(i for i in u.owner.inputs if i not in seen)
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(f"{v} is no state of a scan: give something that the scan feeds back")
    names = ", ".join(node.op.name for node, _ in found)
    raise ValueError(
        f"{v} is made of the states of several scans ({names}): give each of them by itself, for "
        "example the outputs of each layer or direction"
    )


def _n_made(node: Any, k: int) -> Any:
    """How many steps a scan has made, told by its state k."""
    info = node.op.info
    taps = [*info.mit_sot_in_slices, *info.sit_sot_in_slices][k]
    return node.outputs[info.n_mit_mot + k].shape[0] + min(taps)


def _with_pushes(node: Any, k: int) -> tuple[list[Variable], TensorVariable]:
    """The scan's outputs if something is added to state k after each step, and that: zeros."""
    op, info = node.op, node.op.info
    fresh, inner = inner_graph(op)
    place = info.n_mit_mot_outs + k
    push = inner[place].type("push")
    inner[place] = inner[place] + push
    outer = list(node.inputs)
    if info.as_while:  # as many steps as it makes, without asking: PyTensor 3.0 shifts its gradient
        info, inner, outer = _without_end(node, k, inner)
    row = node.outputs[info.n_mit_mot + k].shape[1:]
    pushes = pt.zeros((outer[0], *tuple(row)), dtype=push.type.dtype)
    new = Scan(
        [*fresh[: info.n_seqs], push, *fresh[info.n_seqs :]],
        inner,
        replace(info, n_seqs=info.n_seqs + 1),
        mode=op.mode,
        truncate_gradient=op.truncate_gradient,
        name=op.name,
    )
    first = 1 + info.n_seqs
    moved = new(*outer[:first], pushes, *outer[first:], return_list=True)
    return moved, pushes


def _without_end(node: Any, k: int, inner: list[Variable]) -> tuple[Any, list[Variable], list[Any]]:
    """A scan that ends itself as one with the number of steps that it makes."""
    info, made = node.op.info, _n_made(node, k)
    taps = [*info.mit_sot_in_slices, *info.sit_sot_in_slices]
    outer = [made, *(v[:made] for v in node.inputs[1 : 1 + info.n_seqs])]
    first = 1 + info.n_seqs + info.n_mit_mot
    outer += node.inputs[1 + info.n_seqs : first]
    buffers = node.inputs[first : first + len(taps)]
    outer += [v[: made - min(t)] for v, t in zip(buffers, taps, strict=True)]
    rest = first + len(taps) + info.n_untraced_sit_sot
    outer += node.inputs[first + len(taps) : rest]
    outer += [made] * info.n_nit_sot + list(node.inputs[rest + info.n_nit_sot :])
    return replace(info, as_while=False), inner[:-1], outer
