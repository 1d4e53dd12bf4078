"""Dialogue: the model, and its responses."""
