"""`function`: `pytensor.function`, and the updates that people forget.

A graph that draws random numbers has a generator as an input, and a compiled function has to store
the generator's next state, or it draws the same numbers at each call. Batch normalisation has
running statistics to update. Both can be collected from the graph.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pytensor
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import ancestors
from pytensor.scan.op import Scan
from pytensor.tensor.random.op import RNGConsumerOp
from pytensor.tensor.random.type import RandomType

from symrnn.compiling.modes import as_mode

Updates = dict[SharedVariable, Any]


def function(
    inputs: Sequence[Any],
    outputs: Any = None,
    updates: Mapping[Any, Any] | None = None,
    mode: Any = None,
    **options: Any,
) -> Any:
    """Compile a graph into a function, and add the updates of its generators and statistics.

    Parameters
    ----------
    inputs
        List of symbolic variables, the arguments of the compiled function.
    outputs
        A variable, or a list of variables: what it returns. None for updates alone.
    updates
        Shared variables and their next values, for example those of an optimizer.
    mode
        None is ``"QUICK"``, which compiles recurrent loops only, calls NumPy for the rest, and so
        starts within seconds. ``"NUMBA"`` compiles the whole graph, for half a minute or more: it
        pays for tiny nets, whose steps are mostly calls. Or any other mode of PyTensor.
    options
        Other arguments of `pytensor.function`, such as ``givens`` and ``on_unused_input``.

    Returns
    -------
    function
        A compiled `pytensor.function`.

    Notes
    -----
    A generator that is used within a scan, but not carried through it in ``outputs_info``, gives
    the same numbers at each step and each call; a warning is issued.

    Examples
    --------
    A step that changes a weight:

    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> w, x = pytensor.shared(1.0, name="w"), pt.dscalar("x")
    >>> step = function([x], w * x, updates={w: w + 1})
    >>> float(step(10.0)), float(step(10.0))
    (10.0, 20.0)

    A mask that is drawn anew at each call; the update of its generator is found in the graph:

    >>> mask = pt.lt(pt.random.shared_rng(seed=1).uniform(size=(1000,))[1], 0.5)
    >>> draw = function([], mask)
    >>> first, second = draw(), draw()
    >>> bool(400 < first.sum() < 600), bool((first == second).all())
    (True, False)
    """
    given = dict(updates or {})
    givens = dict(options.get("givens") or {})  # a dictionary, or pairs
    found = graph_updates([outputs, given, givens])
    compiled = pytensor.function(
        inputs, outputs, updates={**found, **given}, mode=as_mode(mode), **options
    )
    if names := generators_without_update(compiled):
        warnings.warn(
            f"the function draws the same random numbers at each call from {', '.join(names)}, "
            "which a scan or an OpFromGraph uses without returning its next state: carry it "
            "through the scan in outputs_info, or draw all numbers outside",
            stacklevel=2,
        )
    return compiled


def generators_without_update(compiled: Any) -> list[str]:
    """Names of the generators that a compiled function draws from without updating them."""
    return [
        str(i.variable.name or "an unnamed generator")
        for i in (compiled.maker.inputs if hasattr(compiled, "maker") else [])
        if i.implicit and i.update is None and isinstance(i.variable.type, RandomType)
    ]


def graph_updates(outputs: Any) -> Updates:
    """Return the updates that a graph implies: of its generators and its running statistics.

    Parameters
    ----------
    outputs
        A variable, or a list or dictionary of variables, which may be nested.

    Returns
    -------
    dict
        ``{shared variable: its next value}``, for plain `pytensor.function`:
        ``updates=adam(loss, params) | graph_updates(loss)``.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> rng = pt.random.shared_rng(seed=1, name="rng")
    >>> next_rng, x = rng.normal()
    >>> graph_updates(x**2) == {rng: next_rng}
    True
    """
    updates: Updates = {}
    known = -1
    while known < len(updates):  # what moves a statistic may draw random numbers itself
        known = len(updates)
        graph = list(ancestors([*_variables(outputs), *updates.values()]))
        for v in graph:
            for shared, value in getattr(v.tag, "symrnn_updates", {}).items():
                if updates.setdefault(shared, value) is not value:
                    raise ValueError(
                        f"{shared} gets two next values in one graph: use the layer that it "
                        "belongs to only once in a training graph, and another layer for each use"
                    )
        updates |= _next_generators(graph)
    return updates


def with_updates(variable: Any, updates: Updates) -> Any:
    """Attach updates to a variable, for `graph_updates` to find."""
    variable.tag.symrnn_updates = updates
    return variable


def _variables(outputs: Any) -> list[Variable]:
    """All variables in lists and dictionaries of them."""
    if isinstance(outputs, Variable):
        return [outputs]
    if isinstance(outputs, Mapping):
        outputs = [*outputs.values()]
    if isinstance(outputs, list | tuple):
        return [v for part in outputs for v in _variables(part)]
    return [outputs.variable] if isinstance(getattr(outputs, "variable", None), Variable) else []


def _next_generators(graph: Sequence[Variable]) -> Updates:
    """The last state of each shared generator that the graph draws from."""
    after: dict[Variable, dict[Any, Variable]] = {}
    for node in dict.fromkeys(v.owner for v in graph if v.owner is not None):
        for before, next_state in _moved(node).items():  # copies of one draw count once
            after.setdefault(before, {}).setdefault((node.op, *node.inputs), next_state)
    updates: Updates = {}
    for shared in graph:
        if not isinstance(shared, SharedVariable) or not isinstance(shared.type, RandomType):
            continue
        state: Variable = shared
        while state in after:
            if len(after[state]) > 1:
                raise ValueError(
                    f"{len(after[state])} draws are made from one state of the generator {shared}, "
                    "so they are not independent: draw the second from the next state that the "
                    "first returned"
                )
            (state,) = after[state].values()
        if state is not shared:
            updates[shared] = state
    return updates


def _moved(node: Apply[Any]) -> dict[Variable, Variable]:
    """Generators that are inputs of a node, and their next states among its outputs."""
    op = node.op
    if isinstance(op, RNGConsumerOp):
        return {a: b for a, b in op.update(node).items() if isinstance(a.type, RandomType)}
    if isinstance(op, Scan):
        pairs = zip(
            op.outer_untraced_sit_sot(node.inputs),
            op.outer_untraced_sit_sot_outs(node.outputs),
            strict=True,
        )
        return {a: b for a, b in pairs if isinstance(a.type, RandomType)}
    return {}
