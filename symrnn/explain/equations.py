"""Turn a step's graph into equations, such as ``h[t] = tanh(x[t] + w * h[t-1])``."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.type import TensorType

from symrnn.explain.expressions import SILENT, ExpressionPrinter
from symrnn.explain.graphs import in_order


def named_steps(
    inputs: Sequence[Variable],
    outputs: Sequence[tuple[str, Variable]],
    names: Mapping[Variable, str],
) -> list[tuple[str, Variable]]:
    """Return the variables that get an equation of their own, with their names, in order.

    These are variables that have a name, results that are used more than once (named ``v1``,
    ``v2``, ...), random draws, and the outputs.

    Parameters
    ----------
    inputs
        Inputs of the graph.
    outputs
        Its outputs, with the names that they get.
    names
        Names of the inputs.
    """
    results = [v for _, v in outputs]
    nodes = _as_written(in_order(results, set(inputs)))
    uses = Counter(i for node in nodes for i in set(node.inputs))
    taken = {*names.values(), *(name for name, _ in outputs)}
    given = {v.name for node in nodes for v in node.outputs if v.name}
    name_of = {v: name for name, v in reversed(outputs)}
    steps = [(name, v) for name, v in outputs if v in names]  # returned as they came
    n_unnamed = 0
    for node in nodes:
        for v in node.outputs:
            name = name_of.pop(v, None)
            if name is None and v.name and v not in results and not _named_by_pytensor(node):
                name = v.name
                while name in taken:
                    name += "'"
            if name is None and v not in results and hasattr(node.op, "rng_param"):
                name = "draw" if isinstance(v.type, TensorType) else None
                name = name and name + "'" * sum(t.startswith("draw") for t in taken)
            elif name is None and uses[v] > 1 and v not in results and _is_work(node):
                while not n_unnamed or f"v{n_unnamed}" in taken | given:
                    n_unnamed += 1
                name = f"v{n_unnamed}"
            if name is not None:
                steps.append((name, v))
                taken.add(name)
    done = {name for name, _ in steps}
    return steps + [(name, v) for name, v in outputs if name not in done]


def equations(
    inputs: Sequence[Variable],
    outputs: Sequence[tuple[str, Variable]],
    names: Mapping[Variable, str],
) -> list[str]:
    """Return lines ``name = expression`` for all `named_steps`, which has the same parameters."""
    known, lines = dict(names), []
    steps = named_steps(inputs, outputs, names)
    generators = {v.owner: name for name, v in steps if isinstance(v.type, RandomType) and v.owner}
    for name, v in steps:
        if not isinstance(v.type, RandomType) or v.owner is None:
            both = [generators[v.owner], name] if v.owner in generators else [name]
            lines.append(f"{', '.join(both)} = {ExpressionPrinter(known)(v)}")
        known.setdefault(v, name)
    return lines


def _named_by_pytensor(node: Apply[Any]) -> bool:
    """Whether PyTensor gave the name: it calls a slice ``x[1:]`` and a transpose ``W.T``."""
    name = node.outputs[0].name or ""
    return name.endswith(".T") or bool(re.search(r"\[-?\d*:-?\d*\]$", name))


def _is_work(node: Apply[Any]) -> bool:
    """Whether a result is worth computing once: not a shape, or a part of an array."""
    kind = type(node.op).__name__
    cheap = {"Shape", "Shape_i", "DimShuffle", "MakeVector", "Subtensor", "Reshape", "ExpandDims"}
    return kind not in cheap | SILENT


def _as_written(nodes: list[Apply[Any]]) -> list[Apply[Any]]:
    """The nodes in the order in which the step's code created them, if that is known."""
    ages = [getattr(node.outputs[0].tag, "age", None) for node in nodes]
    if None in ages:
        return nodes
    ordered = [node for _, _, node in sorted(zip(ages, range(len(nodes)), nodes, strict=True))]
    position = {node: k for k, node in enumerate(ordered)}
    for node in ordered:  # a node that replaced another may be younger than those that use it
        if any(position.get(i.owner, -1) >= position[node] for i in node.inputs):
            return nodes
    return ordered
