"""Write a graph as the equations it was made from.

``h_t = tanh(zx[t] + h[t-1] @ W_h)`` says more than a tree of operations. What has a name becomes an
equation of its own, and so does what is used more than once.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from pytensor.compile.builders import OpFromGraph
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.subtensor import Subtensor, get_idx_list
from pytensor.tensor.type import TensorType

ATOM, POWER, UNARY, PRODUCT, SUM, AND, OR, COMPARISON = 100, 90, 80, 70, 60, 55, 50, 40
"""How tightly operators bind, as in Python."""

INFIX = {
    "Add": ("+", SUM),
    "Sub": ("-", SUM),
    "Mul": ("*", PRODUCT),
    "TrueDiv": ("/", PRODUCT),
    "IntDiv": ("//", PRODUCT),
    "Mod": ("%", PRODUCT),
    "Pow": ("**", POWER),
    "LT": ("<", COMPARISON),
    "LE": ("<=", COMPARISON),
    "GT": (">", COMPARISON),
    "GE": (">=", COMPARISON),
    "EQ": ("==", COMPARISON),
    "NEQ": ("!=", COMPARISON),
    "AND": ("&", AND),
    "OR": ("|", OR),
}
"""Scalar operations that Python writes between their operands."""

SILENT = {
    *("DeepCopyOp", "ViewOp", "Identity", "TensorFromScalar", "ScalarFromTensor", "Second"),
    *("SpecifyShape", "CheckAndRaise", "Assert", "InputFits", "FirstDerivative"),
}
"""Operations that change nothing a reader of the equations wants to know."""


class Writer:
    """Writes variables as expressions of what has a name.

    Parameters
    ----------
    names
        What is not to be looked into, and its name.
    brief
        Leave out reshapes too, for where a reader wants to know what it is and not its layout.
    """

    def __init__(self, names: Mapping[Variable, str], brief: bool = False) -> None:
        self.names, self.brief = dict(names), brief

    def __call__(self, v: Variable, above: int = 0) -> str:
        """Return the expression, in brackets if it binds less tightly than what stands `above`."""
        text, strength = self._written(v)
        return f"({text})" if strength < above else text

    def _written(self, v: Variable) -> tuple[str, int]:
        if v in self.names:
            return self.names[v], ATOM
        if isinstance(v, Constant):
            return _number(v)
        if v.owner is None:
            return v.name or "?", ATOM
        return self._operation(v.owner, v)

    def _operation(self, node: Apply[Any], v: Variable) -> tuple[str, int]:
        op, kind = node.op, type(node.op).__name__
        inputs = list(node.inputs)
        if kind in SILENT:
            return self._written(inputs[-1] if kind == "Second" else inputs[0])
        if kind == "Elemwise":
            return self._elementwise(op.scalar_op, inputs)
        if isinstance(op, OpFromGraph) and op.is_inline:
            inner = dict(zip(op.fgraph.inputs, (self(i, ATOM) for i in inputs), strict=True))
            return Writer(inner)._written(op.fgraph.outputs[node.outputs.index(v)])
        if kind == "Blockwise":
            op, kind = op.core_op, type(op.core_op).__name__
        if kind in ("Dot", "Dot22", "BatchedDot", "MatMul"):
            return self._product(*inputs)
        if kind in ("DimShuffle", "ExpandDims", "Squeeze", "MatrixTranspose"):
            return self._axes(op, inputs[0])
        if isinstance(op, Subtensor):
            indices = self._indices(node)
            of_scan = inputs[0].owner is not None and type(inputs[0].owner.op).__name__ == "Scan"
            if indices == "0:" or (of_scan and indices.endswith(":")):
                return self._written(inputs[0])  # a scan's states begin with the initial ones
            return f"{self(inputs[0], ATOM)}[{indices}]", ATOM
        if kind == "Scan":
            return self._scan(op, node)
        if kind in ("AdvancedSubtensor", "AdvancedSubtensor1"):
            return f"{self(inputs[0], ATOM)}[{self._indices(node)}]", ATOM
        if kind in ("IncSubtensor", "AdvancedIncSubtensor", "AdvancedIncSubtensor1"):
            word = "set" if getattr(op, "set_instead_of_inc", False) else "inc"
            part = f"{self(inputs[0], ATOM)}[{self._indices(node, 2)}]"
            return f"{word}({part}, {self(inputs[1])})", ATOM
        if kind == "Split":
            return f"split({self(inputs[0])})[{node.outputs.index(v)}]", ATOM
        if kind == "Reshape" and self.brief:
            return self._written(inputs[0])
        if kind == "Reshape":
            return f"{self(inputs[0], ATOM)}.reshape({self(inputs[1])})", ATOM
        if kind == "Shape":
            return f"{self(inputs[0], ATOM)}.shape", ATOM
        if kind == "Shape_i":
            return f"{self(inputs[0], ATOM)}.shape[{op.i}]", ATOM
        if kind == "MakeVector":
            return f"[{', '.join(self(i) for i in inputs)}]", ATOM
        if kind == "Join":
            return self._joined(op, inputs)
        if kind == "Alloc" and self.brief and isinstance(inputs[0], Constant):
            zeros = _is_number(inputs[0], 0)
            return "zeros" if zeros else f"all {self(inputs[0])}", ATOM
        if kind in ("Alloc", "AllocEmpty"):
            return f"full({', '.join(self(i) for i in inputs)})", ATOM
        if hasattr(op, "rng_param"):
            return f"{op.name}({', '.join(self(i) for i in op.dist_params(node))})", ATOM
        if hasattr(op, "axis") and hasattr(op, "scalar_op"):
            name = {"Add": "sum", "Mul": "prod", "Maximum": "max", "Minimum": "min"}
            word = name.get(type(op.scalar_op).__name__, type(op.scalar_op).__name__.lower())
            axes = "" if op.axis is None else ", ".join(map(str, op.axis))
            axes = f"({axes})" if "," in axes else axes
            return f"{word}({self(inputs[0])}{f', axis={axes}' if axes else ''})", ATOM
        word = getattr(op, "name", None) or {"DisconnectedGrad": "disconnected_grad"}.get(
            kind, kind.lower()
        )
        axis = getattr(op, "axis", None)
        axis = axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis
        more = "" if axis is None else f", axis={axis}"
        which = f"[{node.outputs.index(v)}]" if len(node.outputs) > 1 else ""
        return f"{word}({', '.join(self(i) for i in inputs)}{more}){which}", ATOM

    def _joined(self, op: Any, inputs: Sequence[Variable]) -> tuple[str, int]:
        """Arrays one after the other, or a stack of arrays."""
        parts = [i for i in inputs if i.type.ndim]
        axis = getattr(op, "axis", None)
        if axis is None:  # in some versions of PyTensor it is an input
            axis = int(np.asarray(inputs[0].data)) if isinstance(inputs[0], Constant) else 0
        more = f", axis={axis}" if axis else ""
        single = [_without_axis(i, axis) for i in parts]
        if all(s is not None for s in single):
            return f"stack([{', '.join(self(s) for s in single if s is not None)}]{more})", ATOM
        return f"concatenate([{', '.join(self(i) for i in parts)}]{more})", ATOM

    def _elementwise(self, op: Any, inputs: Sequence[Variable]) -> tuple[str, int]:
        kind = type(op).__name__
        if kind == "Second" and not self.brief and _is_number(inputs[1], 0):
            return f"zeros_like({self(inputs[0])})", ATOM
        if kind in SILENT:
            return self._written(inputs[-1])
        if kind == "Mul" and any(_is_number(i, 0) for i in inputs):
            return "0", ATOM
        if kind == "Mul":
            inputs = [i for i in inputs if not _is_number(i, 1)] or inputs[:1]
            if len(inputs) == 1:
                return self._written(inputs[0])
        if kind in INFIX:
            sign, strength = INFIX[kind]
            # a - (b - c), a * (b % c), 2 ** (-1) and (a < b) < c need their brackets
            first, *others = inputs
            left = strength + 1 if kind == "Pow" or strength == COMPARISON else strength
            text = self(first, left)
            for i in others:
                if kind == "Add" and (negative := self(i, SUM)).startswith("-"):
                    text = f"{text} - {negative[1:]}"
                else:
                    same = kind == "Add" or (kind == _kind(i) and kind in ("Mul", "AND", "OR"))
                    right = strength if same else strength + 1
                    text = f"{text} {sign} {self(i, right)}"
            return text.replace(" ** ", "**") if kind == "Pow" else text, strength
        if kind == "Neg":
            return f"-{self(inputs[0], UNARY)}", UNARY
        if kind == "Invert":
            return f"~{self(inputs[0], UNARY)}", UNARY
        if kind == "Sqr":
            return f"{self(inputs[0], POWER + 1)}**2", POWER
        if kind == "Cast":
            return f"{op.o_type.dtype}({self(inputs[0])})", ATOM
        if kind == "Composite":
            inner = dict(zip(op.fgraph.inputs, (self(i, ATOM) for i in inputs), strict=True))
            return Writer(inner)._written(op.fgraph.outputs[0])
        word = {"Switch": "where", "IsNan": "isnan", "IsInf": "isinf"}.get(kind, kind.lower())
        return f"{word}({', '.join(self(i) for i in inputs)})", ATOM

    def _axes(self, op: Any, v: Variable) -> tuple[str, int]:
        """New axes in front and dropped ones go without saying, as in NumPy; others do not."""
        new_order = list(getattr(op, "new_order", ()))
        order = [axis for axis in new_order if axis != "x"]
        if order == sorted(order) and "x" in new_order[new_order.index(order[0]) if order else 0 :]:
            if not order:
                return self._written(v)
            index = ", ".join("None" if axis == "x" else ":" for axis in new_order)
            return f"{self(v, ATOM)}[{index}]", ATOM
        if type(op).__name__ != "MatrixTranspose" and order == sorted(order):
            return self._written(v)
        if len(order) <= 2 or order == sorted(order, reverse=True):
            return f"{self(v, ATOM)}.T", ATOM
        return f"{self(v, ATOM)}.transpose({', '.join(map(str, order))})", ATOM

    def _product(self, a: Variable, b: Variable) -> tuple[str, int]:
        """Return a @ b; PyTensor makes ``A.T @ v`` of ``v @ A`` for a vector v."""
        column = _of_column(b)
        if column is not None and a.owner is not None:
            op = a.owner.op
            if type(op).__name__ == "MatrixTranspose" or getattr(op, "new_order", ()) == (1, 0):
                a, column = column, a.owner.inputs[0]
        right = self._operand(b if column is None else column, PRODUCT + 1)
        return f"{self._operand(a, PRODUCT)} @ {right}", PRODUCT

    def _operand(self, v: Variable, above: int) -> str:
        """An operand of a product, where an axis in front does not go without saying."""
        node = None if v in self.names else v.owner
        if node is not None and list(getattr(node.op, "new_order", ())) == ["x", 0]:
            return f"{self(node.inputs[0], ATOM)}[None, :]"
        return self(v, above)

    def _scan(self, op: Any, node: Apply[Any]) -> tuple[str, int]:
        """A scan inside a step, as a function of its sequences, initial values and the like."""
        roots = []
        for v in [*op.outer_seqs(node.inputs), *op.outer_non_seqs(node.inputs)]:
            while v.owner is not None and isinstance(v.owner.op, Subtensor):
                v = v.owner.inputs[0]
            roots.append(self(v))
        name = "scan" if op.name == "scan_fn" else op.name
        return f"{name}({', '.join(dict.fromkeys(roots))})", ATOM

    def _indices(self, node: Apply[Any], n_arrays: int = 1) -> str:
        """What stands in square brackets; the first `n_arrays` inputs are no indices."""
        if hasattr(node.op, "idx_list"):
            given = [node.inputs[0], *node.inputs[n_arrays:]]
            return ", ".join(self._index(i) for i in get_idx_list(given, node.op.idx_list))
        return ", ".join(self._index(i) for i in node.inputs[n_arrays:])

    def _index(self, index: Any) -> str:
        if isinstance(getattr(index, "data", None), slice):
            index = index.data
        if not isinstance(index, slice):
            return self(index) if isinstance(index, Variable) else str(index)
        parts = [
            "" if i is None else self(i) if isinstance(i, Variable) else str(i)
            for i in (index.start, index.stop, index.step)
        ]
        return ":".join(parts if parts[2] else parts[:2])


def _of_column(v: Variable) -> Variable | None:
    """The vector that `v` is, or is the column of; None if it is neither."""
    if getattr(v.type, "ndim", 0) == 1:
        return v
    if v.owner is not None and list(getattr(v.owner.op, "new_order", ())) == [0, "x"]:
        return v.owner.inputs[0]
    return None


def _without_axis(v: Variable, axis: int) -> Variable | None:
    """What `v` was before this axis was added; None if it was not."""
    order = list(getattr(v.owner.op, "new_order", ())) if v.owner is not None else []
    rest = [k for k in order if k != "x"]
    added = axis < len(order) and order[axis] == "x" and rest == list(range(len(order) - 1))
    return v.owner.inputs[0] if added else None


def _kind(v: Variable) -> str:
    """Name of the scalar operation that a variable is the result of."""
    return type(getattr(v.owner.op, "scalar_op", None)).__name__ if v.owner is not None else ""


def in_order(
    outputs: Sequence[Variable], inputs: Collection[Variable] = frozenset()
) -> list[Apply[Any]]:
    """The nodes between, each after those it needs: in the order in which a reader meets them."""
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


def as_written(nodes: list[Apply[Any]]) -> list[Apply[Any]]:
    """The nodes in the order in which the step's code made them, if that is known."""
    ages = [getattr(node.outputs[0].tag, "age", None) for node in nodes]
    if None in ages:
        return nodes
    ordered = [node for _, _, node in sorted(zip(ages, range(len(nodes)), nodes, strict=True))]
    place = {node: k for k, node in enumerate(ordered)}
    for node in ordered:  # what was replaced later may be younger than what uses it
        if any(place.get(i.owner, -1) >= place[node] for i in node.inputs):
            return nodes
    return ordered


def _is_number(v: Variable, number: int) -> bool:
    """Whether a variable is this constant, whatever its axes."""
    while v.owner is not None and type(v.owner.op).__name__ in ("DimShuffle", "ExpandDims"):
        v = v.owner.inputs[0]
    return isinstance(v, Constant) and np.size(v.data) == 1 and bool(np.all(v.data == number))


def _number(v: Constant[Any]) -> tuple[str, int]:
    if v.name:
        return v.name, ATOM
    if not isinstance(v.data, np.ndarray | np.generic | int | float):
        return str(v.data), ATOM
    value = np.asarray(v.data)
    if value.size == 1 and value.dtype.kind in "biuf":
        text = f"{value.item():.6g}" if value.dtype.kind == "f" else str(value.item())
        return text, UNARY if text.startswith("-") else ATOM
    if value.size <= 4:
        return str(value.tolist()), ATOM
    return f"<{value.dtype} array {value.shape}>", ATOM


def named_steps(
    inputs: Sequence[Variable],
    outputs: Sequence[tuple[str, Variable]],
    names: Mapping[Variable, str],
) -> list[tuple[str, Variable]]:
    """Return what deserves an equation of its own, with its name, in the order of computation.

    That is: what has a name, what is used more than once (named ``v1``, ``v2``, ...), and the
    `outputs`, which have the names that they are given here. `names` are those of the `inputs`.
    """
    results = [v for _, v in outputs]
    nodes = as_written(in_order(results, set(inputs)))
    uses = Counter(i for node in nodes for i in set(node.inputs))
    taken = {*names.values(), *(name for name, _ in outputs)}
    users = {v.name for node in nodes for v in node.outputs if v.name}
    name_of = {v: name for name, v in reversed(outputs)}
    steps = [(name, v) for name, v in outputs if v in names]  # handed on as they are
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
                while not n_unnamed or f"v{n_unnamed}" in taken | users:
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
    """Return lines ``name = expression`` for all `named_steps`."""
    known, lines = dict(names), []
    steps = named_steps(inputs, outputs, names)
    generators = {v.owner: name for name, v in steps if isinstance(v.type, RandomType) and v.owner}
    for name, v in steps:
        if not isinstance(v.type, RandomType) or v.owner is None:
            both = [generators[v.owner], name] if v.owner in generators else [name]
            lines.append(f"{', '.join(both)} = {Writer(known)(v)}")
        known.setdefault(v, name)
    return lines


def _named_by_pytensor(node: Apply[Any]) -> bool:
    """Whether a name is PyTensor's own: a part of a sequence is ``x[1:]``, a transpose ``W.T``."""
    name = node.outputs[0].name or ""
    return name.endswith(".T") or bool(re.search(r"\[-?\d*:-?\d*\]$", name))


def _is_work(node: Apply[Any]) -> bool:
    """Whether a result is worth computing once: not what only selects, or tells a shape."""
    kind = type(node.op).__name__
    cheap = {"Shape", "Shape_i", "DimShuffle", "MakeVector", "Subtensor", "Reshape", "ExpandDims"}
    return kind not in cheap | SILENT
