"""Walk through graphs: nodes in order of computation, and the scans among them."""

from collections.abc import Collection, Sequence
from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.scan.op import Scan


def in_order(
    outputs: Sequence[Variable], inputs: Collection[Variable] = frozenset()
) -> list[Apply[Any]]:
    """Return the nodes between `inputs` and `outputs`, each after those whose results it uses."""
    nodes: dict[Apply[Any], None] = {}
    for output in outputs:
        stack = [output]
        while stack:
            v = stack[-1]
            node = v.owner
            waiting = [] if node is None or v in inputs or node in nodes else node.inputs
            waiting = [
                i
                for i in waiting
                if i not in inputs and i.owner is not None and i.owner not in nodes
            ]
            if waiting:
                stack.append(waiting[0])
                continue
            stack.pop()
            if node is not None and v not in inputs:
                nodes.setdefault(node)
    return list(nodes)


def scans_behind(variables: Sequence[Variable]) -> list[Apply[Any]]:
    """Return the nodes of all scans that the variables depend on, the first to run first."""
    nodes = [node for node in in_order(variables) if isinstance(node.op, Scan)]
    if not nodes:
        names = ", ".join(str(v) for v in variables)
        raise ValueError(
            f"no scan found behind {names}: give what pytensor.scan returned, or something "
            "computed from it (with n_steps=1 PyTensor builds no scan, and scans inside an "
            "OpFromGraph are not searched for)"
        )
    return nodes


def as_variables(given: Any) -> list[Variable]:
    """Return all variables in what a user gives: one, or what `pytensor.scan` returned."""
    if isinstance(given, Variable):
        return [given]
    if isinstance(given, list | tuple):  # in the old style of scan, with a dictionary of updates
        return [v for part in given if not isinstance(part, dict) for v in as_variables(part)]
    raise TypeError(f"{given!r} is not a variable: give what pytensor.scan returned")


def age(v: Variable) -> int:
    """Return the number of a variable in the order in which PyTensor created them."""
    return int((v.auto_name or "auto_0").removeprefix("auto_"))
