"""``python -m symrnn lm``: train a language model on text files, and use it."""
