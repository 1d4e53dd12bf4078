"""Figures: functions that take arrays, draw on matplotlib Axes, and return them."""

from symrnn.plots.attention import attention_map, attention_strip
from symrnn.plots.latent import latent_grid, latent_plane
from symrnn.plots.losses import loss_bands, loss_curves
from symrnn.plots.memory import memory_use
from symrnn.plots.search import search_results
from symrnn.plots.surfaces import cost_surface, gradient_field, paths
from symrnn.plots.trees import tree
from symrnn.plots.words import word_map

__all__ = [
    "attention_map",
    "attention_strip",
    "cost_surface",
    "gradient_field",
    "latent_grid",
    "latent_plane",
    "loss_bands",
    "loss_curves",
    "memory_use",
    "paths",
    "search_results",
    "tree",
    "word_map",
]
