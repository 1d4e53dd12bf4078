"""The neural Turing machine: its heads, and the machine."""
