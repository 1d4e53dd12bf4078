"""Variational autoencoders, of vectors and of sequences."""
