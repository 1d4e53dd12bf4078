"""See into any scan: describe it, trace it, draw it, and find where it goes wrong."""

from symrnn.explain.description import describe
from symrnn.explain.diagnosis import first_nonfinite, gradient_flow
from symrnn.explain.graphs import local_names
from symrnn.explain.mistakes import check
from symrnn.explain.pictures import animate, draw, draw_states, draw_step
from symrnn.explain.tracing import trace

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
