"""What nets are made of: modules, cells, layers, attention, and cells unrolled over time."""

from symrnn.kernels import rewrites

rewrites.register()
