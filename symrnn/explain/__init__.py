"""See into any scan: describe it, trace it, draw it, and find where it goes wrong."""

from symrnn.explain.description import describe
from symrnn.explain.drawing import draw
from symrnn.explain.gradients import gradient_flow
from symrnn.explain.mistakes import check
from symrnn.explain.naming import local_names
from symrnn.explain.nonfinite import first_nonfinite
from symrnn.explain.step_graph import draw_step
from symrnn.explain.tracing import trace
from symrnn.explain.walk import animate, draw_states

__all__ = [
    "animate",
    "check",
    "describe",
    "draw",
    "draw_states",
    "draw_step",
    "first_nonfinite",
    "gradient_flow",
    "local_names",
    "trace",
]
