"""From the values of a graph's inputs to the values that a scan gets from outside."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.subtensor import IncSubtensor
from pytensor.tensor.type import TensorType


def outer_values(
    node: Apply[Any], variables: Sequence[Variable], inputs: Mapping[Any, Any], mode: Any
) -> list[Any]:
    """Return the values of a scan's outer inputs.

    Parameters
    ----------
    node
        The scan.
    variables
        Variables that depend on the scan; what they depend on may be given in `inputs`.
    inputs
        Values of the graph's inputs, by variable or by name.
    mode
        Mode of compilation.
    """
    needed = list(explicit_graph_inputs(node.inputs))
    needed, values = values_of(needed, list(explicit_graph_inputs(variables)), inputs)
    given = [_initial_rows(node, k, v) for k, v in enumerate(node.inputs)]
    wanted = list(dict.fromkeys(v for v in given if not isinstance(v, SharedVariable)))
    function = pytensor.function(needed, wanted, mode=mode, updates=unchanged(wanted))
    known = dict(zip(wanted, function(*values), strict=True))
    return [v.get_value() if isinstance(v, SharedVariable) else known[v] for v in given]


def unchanged(variables: Sequence[Variable]) -> dict[Variable, Variable]:
    """Return updates that leave random generators unchanged, also those with updates of their own.

    `variables` are the outputs of the graph.
    """
    return {
        v: v
        for v in graph_inputs(variables)
        if isinstance(v, SharedVariable) and isinstance(v.type, RandomType)
    }


def _initial_rows(node: Apply[Any], k: int, v: Variable) -> Variable:
    """Only the initial values, if `v` is the array that collects a state; else `v` itself."""
    info = node.op.info
    first = 1 + info.n_seqs + info.n_mit_mot
    if not first <= k < first + info.n_mit_sot + info.n_sit_sot:
        return v
    if v.owner is not None and isinstance(v.owner.op, IncSubtensor):
        return v.owner.inputs[1]
    taps = [*info.mit_sot_in_slices, *info.sit_sot_in_slices][k - first]
    return v[: -min(taps)]


def values_of(
    needed: Sequence[Variable], known: Sequence[Variable], inputs: Mapping[Any, Any]
) -> tuple[list[Variable], list[Any]]:
    """Return the inputs that are needed, and their values; `inputs` may hold all that are known."""
    values = {_find(key, known): value for key, value in inputs.items()}
    missing = [str(v) for v in needed if v not in values]
    if missing:
        raise ValueError(f"values are missing for the inputs {', '.join(missing)}")
    return list(needed), [_checked(v, values[v]) for v in needed]


def _find(key: Any, known: Sequence[Variable]) -> Variable:
    """The input that a variable or a name stands for."""
    for v in known:
        if v is key or (isinstance(key, str) and v.name == key):
            return v
    if isinstance(key, SharedVariable):
        raise ValueError(
            f"{key} is a shared variable, which has a value already: change it by "
            f"{key}.set_value(...)"
        )
    names = ", ".join(str(v) for v in known) or "none"
    raise ValueError(f"{key} is not an input of this graph; its inputs are: {names}")


def _checked(v: Variable, value: Any) -> Any:
    """The value in the dtype of `v`, if it has its number of axes and loses nothing."""
    if not isinstance(v.type, TensorType):
        return value
    array = np.asarray(value)
    if array.size and not np.can_cast(array.dtype, v.type.dtype, "same_kind"):
        raise ValueError(f"the value of {v} has dtype {array.dtype}, but {v} is {v.type.dtype}")
    if array.ndim != v.type.ndim:
        raise ValueError(
            f"the value of {v} has shape {array.shape}, but {v} has {v.type.ndim} axes"
        )
    return array.astype(v.type.dtype)
