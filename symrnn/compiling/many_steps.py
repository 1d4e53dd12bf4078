"""A training as one scan: a function that makes many steps in one call.

It is for nets so small that calling a function takes longer than what it computes.
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


def compile_many_steps(
    inputs: Sequence[Variable],
    outputs: Any,
    updates: Mapping[Any, Any],
    same: Sequence[Variable] = (),
    mode: Mode | str | None = None,
) -> Any:
    """Compile like `pytensor.function`, but for a step on each entry of a series of inputs.

    A training is a recurrence too: its state are the weights, and a batch is what comes in at each
    step. So the steps of a training are a scan, with ``updates`` as the rule for the next state::

        state_k = updates(batch_k, state_{k-1})        k = 1 ... steps

    One call makes as many steps as the series is long, without coming back to Python between them.
    In mode NUMBA this is several times as fast for nets with few weights and batches of few
    samples; the numbers are the same up to rounding. Modes that do not compile whole functions
    gain nothing.

    Parameters
    ----------
    inputs
        What each step gets anew. Inputs with a known shape, such as
        ``pt.tensor("x", shape=(8, 1, 2))``, make faster code.
    outputs
        A variable, or a list of such, computed in each step before its updates.
    updates
        Shared variables and their next values, as for `pytensor.function`: weights, the memory of
        an update rule, random generators.
    same
        Inputs that are the same for all steps, such as a learning rate.
    mode
        As for `pytensor.function`.

    Returns
    -------
    function
        To be called with one array for each input, with an axis for the steps before its own axes,
        and then with the values of `same`. It returns each output for all steps, shape
        ``(steps, ...)``, and leaves the shared variables as they are after the last step.

    Raises
    ------
    ValueError
        If there are no inputs or no updates; if the outputs need an input that is not given. When
        the function is called: if a series is empty or one is longer than another (not in mode
        JAX).

    Examples
    --------
    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> w, x = pytensor.shared(10.0, name="w"), pt.dscalar("x")
    >>> walk = compile_many_steps([x], w**2, {w: w - x}, mode="FAST_COMPILE")
    >>> walk(np.array([5.0, 2.0, 1.0])), w.get_value()
    (array([100.,  25.,   9.]), array(2.))
    """
    if not inputs or not updates:
        raise ValueError(
            f"there are {len(inputs)} inputs and {len(updates)} updates, but a series of steps "
            "needs both; otherwise use pytensor.function"
        )
    results = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    updates = {s: _as_next(s, value) for s, value in dict(updates).items()}
    updates = _with_default_updates(updates, results)
    state, wanted = list(updates), [*updates.values(), *results]
    known = {*inputs, *same}
    unknown = [v for v in explicit_graph_inputs(wanted) if v not in known]
    if unknown:
        raise ValueError(
            f"the outputs or updates depend on {', '.join(map(str, unknown))}: add it to inputs if "
            "it has a value for each step, or to same"
        )
    series = [_series(v) for v in inputs]
    sequences = _of_one_length(series)

    def step(*arguments: Variable) -> list[Variable]:
        replacements = dict(zip([*inputs, *state, *same], arguments, strict=True))
        return list(graph_replace(wanted, replacements, strict=False))

    all_steps = pytensor.scan(
        step,
        sequences=sequences,
        outputs_info=[*state, *(None for _ in results)],
        non_sequences=list(same),
        name="many_steps",
        return_updates=False,
        return_list=True,
    )
    last = {
        s: after if isinstance(s.type, RandomType) else after[-1]
        for s, after in zip(state, all_steps, strict=False)
    }
    each = all_steps[len(state) :]
    # scans inside take PyTensor's default mode, and not all pairs of modes work
    inside = {"mode": mode} if isinstance(mode, str) else {}
    with pytensor.config.change_flags(**inside):
        return pytensor.function(
            [*series, *same],
            each if isinstance(outputs, list | tuple) else each[0],
            updates=last,
            mode=get_mode(mode).including("scan_save_mem"),  # only the last weights are kept
        )


def _as_next(shared: Any, value: Any) -> Any:
    """A next value as a variable of the kind of its shared variable."""
    if isinstance(value, Variable):
        return value
    return pt.as_tensor_variable(np.asarray(value, dtype=shared.type.dtype))


def _with_default_updates(updates: dict[Any, Any], results: Sequence[Any]) -> dict[Any, Any]:
    """The updates, and those that variables bring along, as `pytensor.function` applies them."""
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
    """A variable with an axis for steps before those of `v`."""
    return pt.tensor(v.name, dtype=v.type.dtype, shape=(None, *v.type.shape))


def _of_one_length(series: Sequence[Any]) -> list[Any]:
    """The series, with a check that all are equally long, and not empty."""
    fits = CheckAndRaise(
        ValueError,
        "each input must be given as a series with its values for all steps, at least one, along "
        "the first axis, and all series must be equally long",
    )
    n_steps = series[0].shape[0]
    equal = [pt.eq(s.shape[0], n_steps) for s in series[1:]]
    return [fits(series[0], pt.gt(n_steps, 0), *equal), *series[1:]]
