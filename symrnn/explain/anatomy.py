"""The anatomy of a scan: the arguments, equations and results of its step, as plain records.

Steps are counted from 0, and ``x[t]`` is the element of the sequence at that position. So a
sequence with ``taps=[-1, 0]``, whose first step is at its second element, appears as ``x[t]`` and
``x[t+1]``: PyTensor keeps no more of it, and ``taps=[0, 1]`` gives the same.
"""

from dataclasses import dataclass, field
from typing import Any

from pytensor.graph.basic import Apply, Variable


@dataclass(frozen=True)
class Argument:
    """An argument of a scan's step."""

    name: str
    """Its name in the equations, for example ``x[t-1]``."""
    kind: str
    """``"sequence"``, ``"state"``, ``"non-sequence"``, ``"shared"`` or ``"generator"``; in the
    scan of a gradient also ``"gradient"``."""
    source: str
    """Where its values come from."""
    tap: int | None
    """The step it belongs to, relative to this one; None if it is the same at all steps."""
    inner: Variable = field(repr=False)
    """The variable inside the step."""
    outer: Variable = field(repr=False)
    """The variable outside: a whole sequence, an initial value or a non-sequence."""
    position: int = field(repr=False)
    """Its position among the scan's inner inputs."""


@dataclass(frozen=True)
class Result:
    """A result of a scan's step."""

    name: str
    """Its name in the equations, for example ``h[t]``."""
    kind: str
    """``"fed back"``, ``"collected"`` (no taps), or ``"final"`` (only the last one is kept); in the
    scan of a gradient also ``"gradient"``."""
    taps: tuple[int, ...]
    """Steps, relative to this one, from which its values return as arguments."""
    used: str
    """Which steps' values the variables depend on: ``"all steps"``, ``"the last step"`` or
    ``"no"``."""
    inner: Variable = field(repr=False)
    """The variable inside the step."""
    outer: Variable = field(repr=False)
    """The variable outside, which collects the values."""
    initial: Variable | None = field(default=None, repr=False)
    """The initial value of a state."""


@dataclass(frozen=True)
class Anatomy:
    """A scan, taken apart.

    Attributes
    ----------
    name
        The scan's own name; empty if it has none.
    arguments, results
        Arguments and results of the step, in the order of the code that built it where that can be
        recovered.
    n_steps
        The number of steps in words, for example ``as many as x has``.
    backwards
        Whether the scan goes from the end of its sequences to their beginning.
    truncate_gradient
        Number of steps after which the gradient is truncated; None if it is not.
    until
        The condition that ends the scan early, as an expression; None if there is none.
    equations
        What a step computes.
    node
        PyTensor's node.
    inner_inputs, inner_outputs
        The step as a graph: a copy of the scan's own, with names.
    """

    name: str
    arguments: list[Argument]
    results: list[Result]
    n_steps: str
    backwards: bool
    truncate_gradient: int | None
    until: str | None
    equations: list[str]
    node: Apply[Any] = field(repr=False)
    inner_inputs: list[Variable] = field(repr=False)
    inner_outputs: list[Variable] = field(repr=False)

    @property
    def title(self) -> str:
        """The scan in words: ``a scan``, ``scan LSTMCell``, ``the gradient of a scan``."""
        own = self.name.replace("grad_of_", "")
        what = f"scan {own}" if own not in ("", "scan_fn") else "a scan"
        return "the gradient of " * self.name.count("grad_of_") + what

    @property
    def outputs(self) -> list[tuple[str, Variable]]:
        """The results of the step inside it, with their names."""
        return [(r.name, r.inner) for r in self.results]
