"""Fast recurrent layers as plain scans: the only module of `explain` that knows `kernels`."""

from collections.abc import Sequence

from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace

from symrnn.explain.graphs import in_order
from symrnn.explain.naming import local_names
from symrnn.kernels.recurrence import Recurrence


def with_plain_scans(variables: Sequence[Variable]) -> list[Variable]:
    """Return the variables with each fast recurrent layer replaced by the scan it stands for."""
    plain: dict[Variable, Variable] = {}

    def replaced(old: Sequence[Variable]) -> list[Variable]:
        return list(graph_replace(old, plain, strict=False)) if plain else list(old)

    for node in in_order(variables):
        if isinstance(node.op, Recurrence):
            with local_names():
                h, *final = node.op.plain(replaced(node.inputs))
            finals = node.outputs[len(final) : 2 * len(final)]
            plain |= {node.outputs[0]: h} | dict(zip(finals, final, strict=True))
    return replaced(variables)
