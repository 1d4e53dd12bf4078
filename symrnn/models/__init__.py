"""Models: each a graph in the open, and methods that compile it into functions."""
