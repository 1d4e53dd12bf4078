"""What nets are made of: modules, cells, layers, attention, and how a cell is unrolled over time."""
