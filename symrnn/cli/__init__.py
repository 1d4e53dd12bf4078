"""What `python -m symrnn` can do, a file for each command."""
