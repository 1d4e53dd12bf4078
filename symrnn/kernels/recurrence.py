"""Backpropagation through time, made fast: a recurrent layer's loop, and its backward pass.

`pytensor.grad` can differentiate any scan. For a recurrent layer one can do better with what one
knows of it (Werbos, 1990; the products are taken out of the loop as in Appleyard et al., 2016).
With ``z_t = zx_t + h_{t-1} W_h`` and ``state_t = step(z_t, state_{t-1})``,

- the gradient of ``zx_t`` is ``dz_t``, the gradient of the sum;
- that of ``W_h`` is ``sum_t h_{t-1}^T dz_t``: ONE product of long matrices after the loop;
- inside the backward loop there is one product, ``dh_{t-1} = dz_t W_h^T``; the rest is elementwise:
  PyTensor derives it from the cell's own step, once, on a single row;
- values that are expensive to compute (tanh, sigmoid, ...) are saved by the forward loop.

`Recurrence` and `RecurrenceGradient` are one node of the graph each, also in a compiled function:
both call a kernel (`symrnn.kernels.loop`). Where there are no kernels, in mode JAX, two scans take
their place (`symrnn.kernels.scans`).
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import compress
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.tensor.variable import TensorVariable

from symrnn.compiling.shapes import axis_length
from symrnn.kernels.calls import call_kernel
from symrnn.kernels.elementwise import can_write
from symrnn.kernels.loop import Kernel, load_backward, load_forward
from symrnn.kernels.scans import backward_scan, forward_scan, is_connected, split_inputs
from symrnn.kernels.step_rows import StepRows

Plain = Callable[..., tuple[TensorVariable, list[TensorVariable]]]


def recurrence(
    rows: StepRows,
    zx: TensorVariable,
    W_h: TensorVariable,
    start: Sequence[TensorVariable],
    update_masks: Sequence[TensorVariable],
    truncate_every: int | None,
    plain: Plain | None = None,
) -> tuple[TensorVariable, list[TensorVariable]]:
    """Return h of all steps, and the final states, with a fast gradient.

    The first has shape ``(time, batch, n_hidden)``, each final state ``(batch, n_hidden)``.

    Parameters
    ----------
    rows
        The step, from `step_rows`.
    zx
        ``x_t W_x + b``, shape ``(time, batch, n_gates * n_hidden)``.
    W_h
        Shape ``(n_hidden, n_gates * n_hidden)``.
    start
        Initial states, each ``(batch, n_hidden)``.
    update_masks
        Which entries of a state a step may change, ``(time, batch, n_hidden or 1)``, bool.
    truncate_every
        The gradient of the states stops after every so many steps.
    plain
        Returns the same results by a readable scan, given `zx`, `W_h`, `start` and `update_masks`.
    """
    shape = (axis_length(zx, 1), axis_length(W_h, 0))  # (batch, n_hidden)
    captured = [pt.broadcast_to(v, shape) for v in rows.captured_values]
    n = len(start)
    outputs = Recurrence(rows, truncate_every=truncate_every, plain=plain)(
        *(zx, W_h, *start, *captured, *update_masks), return_list=True
    )
    return outputs[0], outputs[n : 2 * n]


class LoopOp(Op):
    """An operation that a kernel computes.

    Parameters
    ----------
    rows
        The step of the loop.
    truncate_every
        See `recurrence`.
    """

    def __init__(self, rows: StepRows, *, truncate_every: int | None) -> None:
        self.rows, self.truncate_every = rows, truncate_every
        self._kernels: dict[Any, Kernel] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kernels": {}}

    def masks_shared(self, node: Apply[Any]) -> tuple[bool, ...]:
        """Whether each update mask of a node has one number for all units."""
        n = len(self.rows.update_masks)
        return tuple(v.type.broadcastable[2] for v in node.inputs[len(node.inputs) - n :])

    def kernel(self, node: Apply[Any]) -> Kernel:
        """Return the kernel for the types of a node."""
        key = (str(node.outputs[0].type.dtype), self.masks_shared(node))
        if key not in self._kernels:
            self._kernels[key] = self._load(*key)
        return self._kernels[key]

    def _load(self, dtype: str, masks_shared: tuple[bool, ...]) -> Kernel:
        raise NotImplementedError

    def scan(self, inputs: Sequence[TensorVariable]) -> list[TensorVariable]:
        """Return the outputs as those of an ordinary scan."""
        raise NotImplementedError

    def has_kernel(self, node: Apply[Any]) -> bool:
        """Whether there can be a kernel for a node."""
        rows = self.rows
        return str(node.outputs[0].type.dtype) in ("float32", "float64") and can_write(
            [
                *(*rows.new_states, *rows.saved_values, *rows.d_old_states, *rows.d_captured),
                *(v for part in rows.d_gates for v in part),
            ],
            [
                *(v for part in rows.gates for v in part),
                *(*rows.states, *rows.captured, *rows.update_masks, *rows.saved, *rows.d_states),
            ],
        )

    def perform(self, node: Apply[Any], inputs: Sequence[Any], storage: Any) -> None:
        """Call the kernel, in every mode whose functions call Python."""
        results = call_kernel(self.kernel(node), inputs)
        for cell, value in zip(storage, self.results(results), strict=True):
            cell[0] = value

    def results(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs of the node, given those of the kernel."""
        return outputs

    def results_in_numba(self, outputs: list[str]) -> list[str]:
        """Return `results` as expressions."""
        return outputs


class Recurrence(LoopOp):
    """A recurrent layer's loop.

    Inputs are those of `recurrence`. Outputs are the states of all steps, of which the first is h,
    the final states, and, for the backward pass, the saved values.

    Parameters
    ----------
    rows, truncate_every, plain
        The arguments of `recurrence`.
    """

    def __init__(self, rows: StepRows, *, truncate_every: int | None, plain: Plain | None) -> None:
        super().__init__(rows, truncate_every=truncate_every)
        self._plain = plain
        self._module = getattr(plain, "__module__", None)

    def __getstate__(self) -> dict[str, Any]:
        # `_plain` holds the cell, which may be of any class
        return {**super().__getstate__(), "_plain": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._module is not None:
            import_module(self._module)  # which registers the rewrites, also in a new process

    def plain(self, inputs: Sequence[TensorVariable]) -> list[TensorVariable]:
        """Return h of all steps and the final states, by the readable scan."""
        zx, W_h, start, _, update_masks = split_inputs(self.rows, inputs)
        n = len(start)
        if self._plain is None:
            outputs = self.scan(inputs)
            return [outputs[0], *outputs[n : 2 * n]]
        h, final = self._plain(zx, W_h, start, update_masks)
        return [h, *final]

    def scan(self, inputs: Sequence[TensorVariable]) -> list[TensorVariable]:
        """Return the outputs as those of an ordinary scan."""
        return _isolated(lambda alone: forward_scan(self.rows, alone), inputs)

    def make_node(self, *inputs: TensorVariable) -> Apply[Any]:
        """Node with the outputs of `scan`."""
        zx, W_h, start, _, _ = split_inputs(self.rows, inputs)
        time, batch, _ = zx.type.shape
        n_hidden = W_h.type.shape[0]
        width = None if n_hidden is None else n_hidden * len(self.rows.saved)
        one_step = [  # mode JAX needs all sizes that are known
            tuple(own or other for own, other in zip(s.type.shape, (batch, n_hidden), strict=True))
            for s in start
        ]
        outputs = [
            *(zx.type.clone(shape=(time, *shape)) for shape in one_step),
            *(zx.type.clone(shape=shape) for shape in one_step),
            zx.type.clone(shape=(time, batch, width)),
        ]
        return Apply(self, list(inputs), [kind() for kind in outputs])

    def results(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """Return the states, the final states, and the saved values."""
        *states, saved = outputs
        return [*states, *(s[-1].copy() for s in states), saved]

    def results_in_numba(self, outputs: list[str]) -> list[str]:
        """Return `results` as expressions."""
        *states, saved = outputs
        return [*states, *(f"{s}[-1].copy()" for s in states), saved]

    def infer_shape(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """Shapes, from those of the inputs.

        `arguments` are ``(fgraph, node, shapes)`` or, in newer versions of PyTensor, the last two.
        """
        (time, batch, _), (n_hidden, _) = arguments[-1][:2]
        n = len(self.rows.states)
        return [
            *((time, batch, n_hidden) for _ in range(n)),
            *((batch, n_hidden) for _ in range(n)),
            (time, batch, n_hidden * len(self.rows.saved)),
        ]

    def _load(self, dtype: str, masks_shared: tuple[bool, ...]) -> Kernel:
        return load_forward(self.rows, dtype, masks_shared)

    def connection_pattern(self, node: Apply[Any]) -> list[list[bool]]:
        """All outputs depend on all inputs, but for boolean ones there is no gradient."""
        return [[v.type.dtype != "bool"] * len(node.outputs) for v in node.inputs]

    def pullback(self, inputs: Any, outputs: Any, gradients: Any) -> list[Any]:
        """Gradients with respect to the inputs, by the backward loop."""
        _, W_h, start, captured, update_masks = split_inputs(self.rows, inputs)
        n = len(start)
        if any(is_connected(d) for d in (*gradients[1:n], gradients[-1])):
            results = _second_derivatives(self, inputs, gradients)
        else:
            d_h, *_ = gradients
            d_final = [
                d if is_connected(d) else pt.zeros_like(s)
                for d, s in zip(gradients[n : 2 * n], start, strict=True)
            ]
            backward = RecurrenceGradient(
                self.rows, truncate_every=self.truncate_every, from_outside=is_connected(d_h)
            )
            results = backward(
                *(*outputs[:n], *([d_h] if is_connected(d_h) else [])),
                *(W_h, outputs[-1], *d_final, *start, *captured, *update_masks),
                return_list=True,
            )
            if self.truncate_every is not None:
                results = [FirstDerivative()(d) for d in results]
        return [*results, *(disconnected_type() for _ in inputs[len(results) :])]


class RecurrenceGradient(LoopOp):
    """The gradient of a `Recurrence`.

    Inputs are the states of all steps, the gradient of h of all steps (if `from_outside`), W_h, the
    saved values, the gradients of the final states, the initial states, captured arrays and update
    masks. Outputs are the gradients of zx, W_h, the initial states and captured numbers.

    Parameters
    ----------
    rows, truncate_every
        Those of the `Recurrence`.
    from_outside
        Whether the loss depends on h of all steps, and not on the final states alone.
    """

    def __init__(self, rows: StepRows, *, truncate_every: int | None, from_outside: bool) -> None:
        super().__init__(rows, truncate_every=truncate_every)
        self.from_outside = from_outside

    def _split(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """States, gradient of h, W_h, saved, gradients of final states, the rest."""
        n = len(self.rows.states)
        states, rest = list(inputs[:n]), list(inputs[n:])
        d_h = rest.pop(0) if self.from_outside else None
        W_h, saved, *rest = rest
        return states, d_h, W_h, saved, rest[:n], rest[n:]

    def make_node(self, *inputs: TensorVariable) -> Apply[Any]:
        """Node with the gradients as outputs."""
        states, _, W_h, _, d_final, rest = self._split(inputs)
        n_hidden = W_h.type.shape[0]
        width = None if n_hidden is None else n_hidden * len(self.rows.gates[0])
        captured = rest[len(states) : len(states) + len(self.rows.d_captured)]
        outputs = [
            states[0].type.clone(shape=(*states[0].type.shape[:2], width)),
            *(W_h.type, *(d.type for d in d_final), *(v.type for v in captured)),
        ]
        return Apply(self, list(inputs), [kind() for kind in outputs])

    def infer_shape(self, *arguments: Any) -> list[tuple[Any, ...]]:
        """Shapes, from those of the inputs; see `Recurrence.infer_shape`."""
        states, _, (n_hidden, width), *_ = self._split(arguments[-1])
        time, batch, _ = states[0]
        others = len(self.rows.states) + len(self.rows.d_captured)
        return [
            (time, batch, n_hidden * len(self.rows.gates[0])),
            (n_hidden, width),
            *((batch, n_hidden) for _ in range(others)),
        ]

    def _load(self, dtype: str, masks_shared: tuple[bool, ...]) -> Kernel:
        return load_backward(
            self.rows,
            dtype,
            masks_shared,
            from_outside=self.from_outside,
            truncate_every=self.truncate_every,
        )

    def scan(self, inputs: Sequence[TensorVariable]) -> list[TensorVariable]:
        """Return the outputs as those of an ordinary scan."""
        return _isolated(self._scan, inputs)

    def _scan(self, inputs: Sequence[TensorVariable]) -> list[TensorVariable]:
        states, d_h, W_h, saved, d_final, rest = self._split(inputs)
        given = [states[0], W_h, *rest]  # zx tells the number of steps, as any state does
        outputs = [*states, *(s[-1] for s in states), saved]
        return backward_scan(
            self.rows, given, outputs, d_final, d_h, truncate_every=self.truncate_every
        )

    def connection_pattern(self, node: Apply[Any]) -> list[list[bool]]:
        """As `Recurrence.connection_pattern`."""
        return [[v.type.dtype != "bool"] * len(node.outputs) for v in node.inputs]

    def pullback(self, inputs: Any, outputs: Any, gradients: Any) -> list[Any]:
        """Second derivatives: `pytensor.grad` of the scan."""
        found = iter(_second_derivatives(self, inputs, gradients))
        return [disconnected_type() if v.type.dtype == "bool" else next(found) for v in inputs]


def _second_derivatives(
    op: LoopOp, inputs: Sequence[TensorVariable], gradients: Sequence[Any]
) -> list[TensorVariable]:
    """Gradients with respect to the inputs that are not boolean: `pytensor.grad` of the scan.

    Some inputs are computed from others, as the states are from ``W_h``. A partial derivative goes
    through one input alone, so the scan is that of variables which know nothing of each other.
    """
    connected = [is_connected(d) for d in gradients]

    def build(alone: Sequence[TensorVariable]) -> list[TensorVariable]:
        given, d_outputs = alone[: len(inputs)], alone[len(inputs) :]
        outputs = compress(op.scan(given), connected)
        cost = sum((v * d).sum() for v, d in zip(outputs, d_outputs, strict=True))
        numbers = [v for v in given if v.type.dtype != "bool"]
        return list(pytensor.grad(cost, numbers, disconnected_inputs="ignore"))

    return _isolated(build, [*inputs, *compress(gradients, connected)])


class FirstDerivative(Op):
    """Identity, for the gradient of a truncated recurrence: it has no derivative.

    What the truncation has cut off is still among the arrays that the gradient is computed from, so
    its derivative by `pytensor.grad` would be wrong.
    """

    view_map = {0: [0]}  # noqa: RUF012 - as PyTensor has it

    def make_node(self, d: TensorVariable) -> Apply[Any]:
        """Node with an output like `d`."""
        return Apply(self, [d], [d.type()])

    def perform(self, node: Apply[Any], inputs: Sequence[Any], storage: Any) -> None:
        """Return the value as it is."""
        storage[0][0] = inputs[0]

    def pullback(self, *args: Any) -> list[Any]:
        """Not available."""
        raise NotImplementedError(
            "no second derivatives with truncate_every: use unroll(..., implementation='scan')"
        )


@node_rewriter([FirstDerivative])
def remove_first_derivative(fgraph: Any, node: Apply[Any]) -> list[TensorVariable]:
    """Remove it when a function is compiled."""
    return [node.inputs[0]]


@node_rewriter([Recurrence, RecurrenceGradient])
def loop_to_scan(fgraph: Any, node: Apply[Any]) -> list[TensorVariable]:
    """Replace a loop by a new copy of its scan, which the compiled function may change."""
    return list(node.op.scan(node.inputs))


@node_rewriter([Recurrence, RecurrenceGradient])
def loop_without_kernel(fgraph: Any, node: Apply[Any]) -> list[TensorVariable] | None:
    """Replace a loop by its scan if its step has operations that kernels do not know."""
    return None if node.op.has_kernel(node) else list(node.op.scan(node.inputs))


def _isolated(
    build: Callable[[Sequence[TensorVariable]], list[Any]], inputs: Sequence[TensorVariable]
) -> list[Any]:
    """Build a graph on variables like the inputs, and replace these by the inputs afterwards.

    The result is that of ``build(inputs)``. But where scan allocates arrays, PyTensor searches all
    that the inputs were computed from for known shapes: in a net of several layers this would take
    much longer than all else.
    """
    alone = [v.type() for v in inputs]
    given = dict(zip(alone, inputs, strict=True))
    return list(graph_replace(build(alone), given, strict=False))
