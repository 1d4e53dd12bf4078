"""Operations on single numbers, several in one: sizes, counts, norms, learning rates.

PyTensor's elementwise operation takes some 8 microseconds in the default mode, also where it adds
two numbers, and a training step has fifty of these. A `Numbers` computes several that follow each
other by a function in Python, with NumPy's functions, which take half a microsecond each.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import GraphRewriter, node_rewriter
from pytensor.scalar import basic as scalar
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.shape import Shape, Shape_i
from pytensor.tensor.subtensor import Subtensor, get_idx_list

from symrnn.kernels.fused import collect, groups


class Numbers(Op):
    """Operations on arrays without axes.

    Parameters
    ----------
    steps
        Scalar operations, with references to their operands and the dtypes of their results; as in
        `symrnn.kernels.fused.Expressions`.
    outputs
        References to the results.
    types
        Those of the outputs.
    """

    __props__ = ("steps", "outputs", "types")

    def __init__(
        self, steps: tuple[Any, ...], outputs: tuple[int, ...], types: tuple[Any, ...]
    ) -> None:
        self.steps, self.outputs, self.types = steps, outputs, types
        self._function: Callable[..., Any] | None = None

    def __str__(self) -> str:
        return f"Numbers{{{', '.join(str(op) for op, _, _ in self.steps)}}}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_function": None}

    def make_node(self, *inputs: Variable) -> Apply[Any]:
        """Node with one output for each of `types`."""
        return Apply(self, list(inputs), [kind() for kind in self.types])

    def perform(self, node: Apply[Any], inputs: Any, storage: Any) -> None:
        """Compute them."""
        if self._function is None:
            self._function = self._compile(len(inputs))
        with np.errstate(all="ignore"):
            results = self._function(*inputs)
        for cell, value, kind in zip(storage, results, self.types, strict=True):
            cell[0] = np.asarray(value, kind.dtype)

    def infer_shape(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """No axes."""
        return [() for _ in self.types]

    def _compile(self, n_inputs: int) -> Callable[..., Any]:
        """Return a function of the inputs that returns the outputs."""
        names: dict[str, Any] = {}
        lines = [f"def function({', '.join(f'v{k}' for k in range(n_inputs))}):"]

        def operand(reference: Any) -> str:
            if isinstance(reference, int):
                return f"v{reference}"
            dtype, text = reference
            value = text == "True" if dtype == "bool" else float(text)
            if "int" in dtype:
                value = int(text)
            name = f"c{len(names)}"
            names[name] = np.asarray(value, dtype)
            return name

        for k, (op, references, dtype) in enumerate(self.steps, n_inputs):
            names[f"f{k}"], names[f"t{k}"] = function_of(op), np.dtype(dtype).type
            call = f"f{k}({', '.join(map(operand, references))})"
            lines.append(f"    v{k} = t{k}({call})")
        lines.append(f"    return {', '.join(f'v{k}' for k in self.outputs)},")
        exec("\n".join(lines), names)
        compiled: Callable[..., Any] = names["function"]
        return compiled


def function_of(op: Any) -> Callable[..., Any] | None:
    """Return NumPy's function for a scalar operation, None if there is none."""
    if isinstance(op, scalar.Cast | scalar.Identity):
        return _same
    if isinstance(op, scalar.Switch):
        return _switch
    function = getattr(np, op.nfunc_spec[0], None) if getattr(op, "nfunc_spec", None) else None
    return function if isinstance(function, np.ufunc) and op.nfunc_spec[2] == 1 else None


def _same(x: Any) -> Any:
    return x


def _switch(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b


def kind_of(node: Apply[Any]) -> Any:
    """Return something if a node can be among the steps of a `Numbers`, else None."""
    if not isinstance(node.op, Elemwise) or node.outputs[0].type.ndim or len(node.outputs) > 1:
        return None
    op, kinds = node.op.scalar_op, [v.type.dtype for v in (*node.inputs, *node.outputs)]
    function = function_of(op)
    if function is None or any(kind.startswith(("complex", "float16")) for kind in kinds):
        return None
    if isinstance(function, np.ufunc):
        if function.nin != len(node.inputs):
            return None
        *given, result = map(np.dtype, kinds)
        if function.resolve_dtypes((*given, None))[-1] != result:
            return None
    return "numbers"


class GatherNumbers(GraphRewriter):
    """Replaces operations on single numbers by a `Numbers` for each group of them."""

    def apply(self, fgraph: Any) -> None:
        """Replace them."""
        for group in groups(fgraph, kind_of):
            given, steps, old, outputs = collect(fgraph, group)
            typed = tuple(
                (op, references, node.outputs[0].type.dtype)
                for (op, references), node in zip(steps, group, strict=True)
            )
            types = tuple(v.type for v in old)
            new = Numbers(typed, tuple(k for k, _ in outputs), types).make_node(*given).outputs
            fgraph.replace_all_validate(list(zip(old, new, strict=True)), reason="symrnn_numbers")


@node_rewriter([Subtensor])
def one_size(fgraph: Any, node: Apply[Any]) -> list[Variable] | None:
    """Replace ``x.shape[k]``, a shape and an element of it, by one operation."""
    x = node.inputs[0]
    if x.owner is None or not isinstance(x.owner.op, Shape):
        return None
    index = get_idx_list(node.inputs, node.op.idx_list)
    if len(index) != 1:
        return None
    k = getattr(index[0], "data", index[0])
    if isinstance(k, slice) or not isinstance(k, int | np.integer | np.ndarray):
        return None
    (array,) = x.owner.inputs
    k = int(k) % max(array.type.ndim, 1)
    return [Shape_i(k)(array)] if array.type.ndim else None
