"""Print a graph as an expression of named variables, for example ``tanh(zx[t] + h[t-1] @ W_h)``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pytensor.compile.builders import OpFromGraph
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.tensor.subtensor import Subtensor, get_idx_list

ATOM, POWER, UNARY, PRODUCT, SUM, AND, OR, COMPARISON = 100, 90, 80, 70, 60, 55, 50, 40
"""Precedence of operators, as in Python: those with larger numbers bind more tightly."""

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
"""Scalar operations with an infix operator in Python, and its precedence."""

SILENT = {
    *("DeepCopyOp", "ViewOp", "Identity", "TensorFromScalar", "ScalarFromTensor", "Second"),
    *("SpecifyShape", "CheckAndRaise", "Assert", "InputFits", "ShapeFits", "FirstDerivative"),
}
"""Operations that are omitted: they do not change the values."""


class ExpressionPrinter:
    """Prints variables as expressions of named ones.

    Parameters
    ----------
    names
        Variables that are printed as their names, whatever they are computed from.
    brief
        Leave out reshapes, and print ``zeros`` for an array of them without its shape.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> x, w, h = pt.vector("x"), pt.scalar("w"), pt.vector()
    >>> ExpressionPrinter({h: "h[t-1]"})(pt.tanh(x - (w + 1) * h))
    'tanh(x - (w + 1) * h[t-1])'
    """

    def __init__(self, names: Mapping[Variable, str], *, brief: bool = False) -> None:
        self.names, self.brief = dict(names), brief

    def __call__(self, v: Variable, precedence: int = 0) -> str:
        """Return the expression, in parentheses if its own precedence is lower than this."""
        text, own = self._printed(v)
        return f"({text})" if own < precedence else text

    def definition(self, v: Variable) -> str:
        """Return the expression of `v` itself, also if it has a name."""
        return self._operation(v.owner, v)[0]

    def _printed(self, v: Variable) -> tuple[str, int]:
        """The expression and its precedence."""
        if v in self.names:
            return self.names[v], ATOM
        if isinstance(v, Constant):
            return _number(v)
        if v.owner is None:
            return v.name or "?", ATOM
        return self._operation(v.owner, v)

    def _operation(self, node: Apply[Any], v: Variable) -> tuple[str, int]:
        """The output `v` of a node as an expression of the node's inputs."""
        op, kind = node.op, type(node.op).__name__
        inputs = list(node.inputs)
        if kind in SILENT:
            return self._printed(inputs[-1] if kind == "Second" else inputs[0])
        if kind == "Elemwise":
            return self._elementwise(op.scalar_op, inputs)
        if isinstance(op, OpFromGraph) and op.is_inline:
            inner = dict(zip(op.fgraph.inputs, (self(i, ATOM) for i in inputs), strict=True))
            return ExpressionPrinter(inner)._printed(op.fgraph.outputs[node.outputs.index(v)])
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
                return self._printed(inputs[0])  # a scan's states begin with the initial ones
            return f"{self(inputs[0], ATOM)}[{indices}]", ATOM
        if kind == "Scan":
            return self._scan(op, node)
        if kind in ("AdvancedSubtensor", "AdvancedSubtensor1"):
            return f"{self(inputs[0], ATOM)}[{self._indices(node)}]", ATOM
        if kind in ("IncSubtensor", "AdvancedIncSubtensor", "AdvancedIncSubtensor1"):
            function = "set" if getattr(op, "set_instead_of_inc", False) else "inc"
            part = f"{self(inputs[0], ATOM)}[{self._indices(node, 2)}]"
            return f"{function}({part}, {self(inputs[1])})", ATOM
        if kind == "Split":
            return f"split({self(inputs[0])})[{node.outputs.index(v)}]", ATOM
        if kind == "Reshape" and self.brief:
            return self._printed(inputs[0])
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
            function = name.get(type(op.scalar_op).__name__, type(op.scalar_op).__name__.lower())
            axes = "" if op.axis is None else ", ".join(map(str, op.axis))
            axes = f"({axes})" if "," in axes else axes
            return f"{function}({self(inputs[0])}{f', axis={axes}' if axes else ''})", ATOM
        usual = {"DisconnectedGrad": "disconnected_grad"}.get(kind, kind.lower())
        function = getattr(op, "name", None) or usual
        axis = getattr(op, "axis", None)
        axis = axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis
        more = "" if axis is None else f", axis={axis}"
        which = f"[{node.outputs.index(v)}]" if len(node.outputs) > 1 else ""
        return f"{function}({', '.join(self(i) for i in inputs)}{more}){which}", ATOM

    def _joined(self, op: Any, inputs: Sequence[Variable]) -> tuple[str, int]:
        """A concatenation, or a stack if each array got a new axis for it."""
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
        """An elementwise operation: an operator or the call of a function."""
        kind = type(op).__name__
        if kind == "Second" and not self.brief and _is_number(inputs[1], 0):
            return f"zeros_like({self(inputs[0])})", ATOM
        if kind in SILENT:
            return self._printed(inputs[-1])
        if kind == "Mul" and any(_is_number(i, 0) for i in inputs):
            return "0", ATOM
        if kind == "Mul":
            inputs = [i for i in inputs if not _is_number(i, 1)] or inputs[:1]
            if len(inputs) == 1:
                return self._printed(inputs[0])
        if kind in INFIX:
            sign, own = INFIX[kind]
            # a - (b - c), a * (b % c), 2 ** (-1) and (a < b) < c need their parentheses
            first, *others = inputs
            left = own + 1 if kind == "Pow" or own == COMPARISON else own
            text = self(first, left)
            for i in others:
                if kind == "Add" and (negative := self(i, SUM)).startswith("-"):
                    text = f"{text} - {negative[1:]}"
                else:
                    same = kind == "Add" or (kind == _kind(i) and kind in ("Mul", "AND", "OR"))
                    right = own if same else own + 1
                    text = f"{text} {sign} {self(i, right)}"
            return text.replace(" ** ", "**") if kind == "Pow" else text, own
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
            return ExpressionPrinter(inner)._printed(op.fgraph.outputs[0])
        function = {"Switch": "where", "IsNan": "isnan", "IsInf": "isinf"}.get(kind, kind.lower())
        return f"{function}({', '.join(self(i) for i in inputs)})", ATOM

    def _axes(self, op: Any, v: Variable) -> tuple[str, int]:
        """A transpose or new axes; new leading axes and dropped ones are omitted, as in NumPy."""
        new_order = list(getattr(op, "new_order", ()))
        order = [axis for axis in new_order if axis != "x"]
        if order == sorted(order) and "x" in new_order[new_order.index(order[0]) if order else 0 :]:
            if not order:
                return self._printed(v)
            index = ", ".join("None" if axis == "x" else ":" for axis in new_order)
            return f"{self(v, ATOM)}[{index}]", ATOM
        if type(op).__name__ != "MatrixTranspose" and order == sorted(order):
            return self._printed(v)
        if len(order) <= 2 or order == sorted(order, reverse=True):
            return f"{self(v, ATOM)}.T", ATOM
        return f"{self(v, ATOM)}.transpose({', '.join(map(str, order))})", ATOM

    def _product(self, a: Variable, b: Variable) -> tuple[str, int]:
        """Return a @ b; for a vector v, PyTensor turns ``v @ A`` into ``A.T @ v``."""
        column = _of_column(b)
        if column is not None and a.owner is not None:
            op = a.owner.op
            if type(op).__name__ == "MatrixTranspose" or getattr(op, "new_order", ()) == (1, 0):
                a, column = column, a.owner.inputs[0]
        right = self._operand(b if column is None else column, PRODUCT + 1)
        return f"{self._operand(a, PRODUCT)} @ {right}", PRODUCT

    def _operand(self, v: Variable, precedence: int) -> str:
        """An operand of a product, for which a leading axis makes a difference."""
        node = None if v in self.names else v.owner
        if node is not None and list(getattr(node.op, "new_order", ())) == ["x", 0]:
            return f"{self(node.inputs[0], ATOM)}[None, :]"
        return self(v, precedence)

    def _scan(self, op: Any, node: Apply[Any]) -> tuple[str, int]:
        """A scan inside a step, as a function of its sequences and non-sequences."""
        roots = []
        for v in [*op.outer_seqs(node.inputs), *op.outer_non_seqs(node.inputs)]:
            while v.owner is not None and isinstance(v.owner.op, Subtensor):
                v = v.owner.inputs[0]
            roots.append(self(v))
        name = "scan" if op.name == "scan_fn" else op.name
        return f"{name}({', '.join(dict.fromkeys(roots))})", ATOM

    def _indices(self, node: Apply[Any], n_arrays: int = 1) -> str:
        """What stands in square brackets; the first `n_arrays` inputs are not indices."""
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
    """The vector if `v` is one, or a column made of one; else None."""
    if getattr(v.type, "ndim", 0) == 1:
        return v
    if v.owner is not None and list(getattr(v.owner.op, "new_order", ())) == [0, "x"]:
        return v.owner.inputs[0]
    return None


def _without_axis(v: Variable, axis: int) -> Variable | None:
    """What `v` was before this axis was added; None if the axis was not added."""
    order = list(getattr(v.owner.op, "new_order", ())) if v.owner is not None else []
    rest = [k for k in order if k != "x"]
    added = axis < len(order) and order[axis] == "x" and rest == list(range(len(order) - 1))
    return v.owner.inputs[0] if added else None


def _kind(v: Variable) -> str:
    """Name of the scalar operation whose result a variable is."""
    return type(getattr(v.owner.op, "scalar_op", None)).__name__ if v.owner is not None else ""


def _is_number(v: Variable, number: int) -> bool:
    """Whether a variable is this constant, with any number of axes."""
    while v.owner is not None and type(v.owner.op).__name__ in ("DimShuffle", "ExpandDims"):
        v = v.owner.inputs[0]
    return isinstance(v, Constant) and np.size(v.data) == 1 and bool(np.all(v.data == number))


def _number(v: Constant[Any]) -> tuple[str, int]:
    """A constant, and its precedence: that of the minus sign, if it has one."""
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
