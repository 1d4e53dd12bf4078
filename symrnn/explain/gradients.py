"""Measure the gradient of a loss with respect to the state of each step of a scan."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import explicit_graph_inputs
from pytensor.scan.op import Scan
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.modes import QUICK
from symrnn.explain.inputs import unchanged, values_of
from symrnn.explain.naming import inner_graph
from symrnn.explain.plain import with_plain_scans


def gradient_flow(
    loss: TensorVariable,
    states: TensorVariable | Sequence[TensorVariable],
    inputs: Mapping[Any, Any] | None = None,
    *,
    mode: Mode | str = QUICK,
) -> Any:
    """Return the norm of the gradient of the loss with respect to the state of each step.

    ``|dL/dh_t|``, over all samples and units: what reaches step t from all later steps. It
    decreases towards the first step where gradients vanish, and increases where they explode
    (Bengio et al., 1994; Pascanu et al., 2013).

    Parameters
    ----------
    loss
        A scalar that depends on the states.
    states
        What `pytensor.scan` returned for a state (a result that is fed back), or the outputs of
        `symrnn.unroll`; or a list of such.
    inputs
        Values of the graph's inputs, by variable or by name. Shared variables keep their values.
    mode
        Mode of compilation. The default compiles no code and starts at once.

    Returns
    -------
    numpy.ndarray
        Shape ``(time,)``; a list of arrays for a list of states. Step 0 is the first that the scan
        makes.

    Raises
    ------
    ValueError
        If `states` are not states of a scan, or the loss does not depend on them.

    Examples
    --------
    Each step halves the gradient.

    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> x = pt.dvector("x")
    >>> h = pytensor.scan(lambda x_t, h: x_t + h / 2, sequences=[x],
    ...                   outputs_info=[pt.constant(0.0, dtype="float64")], return_updates=False)
    >>> gradient_flow(h[-1], h, {x: np.ones(4)}).tolist()
    [0.125, 0.25, 0.5, 1.0]
    """
    wanted = [states] if isinstance(states, Variable) else list(states)
    loss, *found = with_plain_scans([loss, *wanted])
    if loss.type.ndim != 0:
        raise ValueError(
            f"the loss has {loss.type.ndim} axes, but must be a scalar: take its mean or sum"
        )
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
        norms.append(norm[: _n_made(node, k)])  # fewer than n_steps if the scan ends itself
    known = list(explicit_graph_inputs([loss, *found]))
    needed, values = values_of(list(explicit_graph_inputs(norms)), known, inputs or {})
    function = pytensor.function(needed, norms, mode=mode, updates=unchanged(norms))
    results = function(*values)
    return results[0] if isinstance(states, Variable) else results


def _state_behind(v: Variable) -> tuple[Any, int]:
    """The scan, and the number of its state, from which a variable is computed."""
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
        raise ValueError(f"{v} is not a state of a scan: give a result that the scan feeds back")
    names = ", ".join(node.op.name for node, _ in found)
    raise ValueError(
        f"{v} is computed from the states of several scans ({names}): give each of them on its "
        "own, for example the outputs of each layer or direction"
    )


def _n_made(node: Any, k: int) -> Any:
    """The number of steps that a scan made, from the length of its state k."""
    info = node.op.info
    taps = [*info.mit_sot_in_slices, *info.sit_sot_in_slices][k]
    return node.outputs[info.n_mit_mot + k].shape[0] + min(taps)


def _with_pushes(node: Any, k: int) -> tuple[list[Variable], TensorVariable]:
    """The scan's outputs with a push, zeros, added to state k after each step; and the pushes."""
    op, info = node.op, node.op.info
    fresh, inner = inner_graph(op)
    position = info.n_mit_mot_outs + k
    push = inner[position].type("push")
    inner[position] = inner[position] + push
    outer = list(node.inputs)
    if info.as_while:  # make its number of steps fixed: PyTensor 3.0 shifts its gradient
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
    """Parts of the same scan with a fixed number of steps, the one at which it ends itself."""
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
