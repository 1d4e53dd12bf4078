"""``python -m symrnn seq2seq``: train a model on pairs of texts, and let it answer."""
