"""A training as one scan: a function that makes many steps in one call.

It is for nets so small that to call a function takes longer than what it computes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode, get_mode
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.random.type import RandomType

from symrnn.compiling.function import graph_updates
from symrnn.compiling.modes import as_mode


def compile_many_steps(
    inputs: Sequence[Variable],
    outputs: Any,
    updates: Mapping[Any, Any],
    *,
    constants: Sequence[Variable] = (),
    mode: Mode | str = "NUMBA",
) -> Any:
    """Compile like `symrnn.function`, but for a step on each entry of a series of inputs.

    A training is a recurrence too: its state is the weights, and at each step a batch comes in. So
    the steps of a training are a scan, and ``updates`` gives the next state::

        state_k = updates(batch_k, state_{k-1})        k = 1 ... steps

    One call makes as many steps as the series is long, without returning to Python between them.
    In mode NUMBA this is several times as fast for nets with few weights and batches of few
    samples; the numbers are the same up to rounding. Modes that do not compile whole functions,
    such as QUICK, gain nothing.

    Parameters
    ----------
    inputs
        Symbolic inputs with a new value at each step. Inputs with a known shape, such as
        ``pt.tensor("x", shape=(8, 1, 2))``, make faster code.
    outputs
        A variable, or a list of variables, computed in each step before its updates.
    updates
        Shared variables and their next values: weights, optimizer state. Generators and running
        statistics of the graph are updated too, as by `symrnn.function`.
    constants
        Symbolic inputs with one value for all steps, such as a learning rate.
    mode
        ``"NUMBA"``, or any other mode that `symrnn.function` takes.

    Returns
    -------
    function
        To be called with one array for each input, with an axis for the steps before its own axes,
        and then with the values of `constants`. It returns each output for all steps, shape
        ``(steps, ...)``, and leaves the shared variables as they are after the last step. It
        raises a ValueError if a series is empty or longer than another (not in mode JAX).

    Examples
    --------
    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> w, x = pytensor.shared(10.0, name="w"), pt.dscalar("x")
    >>> walk = compile_many_steps([x], w**2, {w: w - x}, mode="FAST_COMPILE")
    >>> walk(np.array([5.0, 2.0, 1.0])), w.get_value()
    (array([100.,  25.,   9.]), array(2.))
    """
    results = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    updates = {s: _as_next(s, value) for s, value in dict(updates).items()}
    updates = graph_updates([*results, *updates.values()]) | updates
    updates = _with_default_updates(updates, results)
    if not inputs or not updates:
        raise ValueError(
            f"there are {len(inputs)} inputs and {len(updates)} updates, but a series of steps "
            "needs both; otherwise use symrnn.function"
        )
    state, wanted = list(updates), [*updates.values(), *results]
    known = {*inputs, *constants}
    unknown = [v for v in explicit_graph_inputs(wanted) if v not in known]
    if unknown:
        raise ValueError(
            f"the outputs or updates depend on {', '.join(map(str, unknown))}: add it to inputs if "
            "it has a value for each step, or to constants"
        )
    series = [_series(v) for v in inputs]
    sequences = _of_one_length(series)

    def step(*arguments: Variable) -> list[Variable]:
        replacements = dict(zip([*inputs, *state, *constants], arguments, strict=True))
        return list(graph_replace(wanted, replacements, strict=False))

    all_steps = pytensor.scan(
        step,
        sequences=sequences,
        outputs_info=[*state, *(None for _ in results)],
        non_sequences=list(constants),
        name="many_steps",
        return_updates=False,
        return_list=True,
    )
    last = {
        s: after if isinstance(s.type, RandomType) else after[-1]
        for s, after in zip(state, all_steps, strict=False)
    }
    each = all_steps[len(state) :]
    mode = as_mode(mode)
    # scans inside take PyTensor's default mode, and not all pairs of modes work
    inside = {"mode": mode} if isinstance(mode, str) else {}
    with pytensor.config.change_flags(**inside):
        return pytensor.function(
            [*series, *constants],
            each if isinstance(outputs, list | tuple) else each[0],
            updates=last,
            mode=get_mode(mode).including("scan_save_mem"),  # only the last weights are kept
        )


def _as_next(shared: Any, value: Any) -> Any:
    """Return a next value as a variable of the type of its shared variable."""
    if isinstance(value, Variable):
        return value
    return pt.as_tensor_variable(np.asarray(value, dtype=shared.type.dtype))


def _with_default_updates(updates: dict[Any, Any], results: Sequence[Any]) -> dict[Any, Any]:
    """Add the default updates of variables, which `pytensor.function` applies automatically."""
    updates = dict(updates)
    while True:
        used = graph_inputs([*updates.values(), *results])
        found = {
            v: v.default_update
            for v in used
            if v not in updates and getattr(v, "default_update", None) is not None
        }
        if not found:
            return updates
        updates |= found


def _series(v: Any) -> Any:
    """Return a variable like `v` with an axis for the steps before its own."""
    return pt.tensor(v.name, dtype=v.type.dtype, shape=(None, *v.type.shape))


def _of_one_length(series: Sequence[Any]) -> list[Any]:
    """Return the series, with a check that all are equally long, and not empty."""
    fits = CheckAndRaise(
        ValueError,
        "each input must be given as a series with its values for all steps, at least one, along "
        "the first axis, and all series must be equally long",
    )
    n_steps = series[0].shape[0]
    equal = [pt.eq(s.shape[0], n_steps) for s in series[1:]]
    return [fits(series[0], pt.gt(n_steps, 0), *equal), *series[1:]]
