"""Figures: functions that take arrays, draw on a matplotlib Axes, and return it."""

from symrnn.plots.attention import attention_map, attention_strip
from symrnn.plots.models import latent_grid, latent_plane, memory_use, tree
from symrnn.plots.training import (
    cost_surface,
    gradient_field,
    loss_bands,
    loss_curves,
    paths,
    search_results,
)
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
