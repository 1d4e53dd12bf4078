"""Sequence models as PyTensor scan graphs, for people who want to see how they work."""

__version__ = "0.1.0"
