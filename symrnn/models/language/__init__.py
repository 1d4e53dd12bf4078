"""Language models, the text that they write, and their saved runs."""
