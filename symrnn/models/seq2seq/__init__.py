"""Sequence to sequence: encoder-decoders, Transformers, what they answer, and their saved runs."""
