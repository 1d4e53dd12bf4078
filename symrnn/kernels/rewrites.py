"""The rewrites of this room, and when PyTensor applies them to the graph that it compiles.

PyTensor's database of rewrites is one for the whole process. A rewrite in it has a position, and
tags that say in which modes it takes part: the lower the position, the earlier.
"""

from typing import Any

from pytensor.compile.mode import optdb
from pytensor.graph.rewriting.basic import GraphRewriter, MergeOptimizer, dfs_rewriter

from symrnn.kernels.fused import Fuse
from symrnn.kernels.numbers import GatherNumbers, one_size
from symrnn.kernels.products import product, product_and_bias
from symrnn.kernels.recurrence import (
    loop_to_scan,
    loop_without_kernel,
    remove_first_derivative,
)
from symrnn.kernels.scatter_add import scatter_add
from symrnn.kernels.shapes import refuse_unknown_shape
from symrnn.kernels.sums import sum_of_columns
from symrnn.kernels.uniform import uniform_from_0_to_1

EVERY_MODE = ("fast_run", "fast_compile")


class RegisterWithNumba(GraphRewriter):
    """Changes no graph, but tells numba of the kernels once a function is compiled for it."""

    def apply(self, fgraph: Any) -> None:
        """Import what registers the kernels; it takes long to import."""
        from symrnn.kernels.dispatch import register_kernels

        register_kernels()


REWRITES: dict[str, tuple[float, Any, tuple[str, ...]]] = {
    "symrnn_numba": (-0.05, RegisterWithNumba(), ("numba",)),
    "symrnn_refuse_unknown_shape": (-0.04, (refuse_unknown_shape,), ("jax",)),
    # before -0.02, from where on the steps of scans are rewritten too
    "symrnn_no_kernels": (-0.03, (loop_to_scan,), ("jax",)),
    "symrnn_recurrence": (-0.03, (loop_without_kernel, remove_first_derivative), EVERY_MODE),
    # after all rewrites that know PyTensor's products, before inputs are overwritten
    "symrnn_products": (48.5, (product,), ("numba", "symrnn_quick")),
    "symrnn_products_and_biases": (48.6, (product_and_bias,), ("numba", "symrnn_quick")),
    "symrnn_sums": (48.7, (sum_of_columns,), ("numba", "symrnn_quick")),
    "symrnn_sizes": (48.7, (one_size,), ("symrnn_quick",)),
    "symrnn_uniform": (48.7, (uniform_from_0_to_1,), ("symrnn_quick",)),
    "symrnn_quick_scatter_add": (48.7, (scatter_add,), ("symrnn_quick",)),
    # after the graph has its last form, with what is now equal computed once
    "symrnn_merge": (48.8, MergeOptimizer(), ("symrnn_quick",)),
    "symrnn_fusion": (48.9, Fuse(), ("symrnn_quick",)),
    "symrnn_numbers": (48.9, GatherNumbers(), ("symrnn_quick",)),
    # after the choice of what is changed in place
    "symrnn_scatter_add": (90, (scatter_add,), ("numba",)),
}
"""Name: position, node rewriters, and tags."""


def register() -> None:
    """Tell PyTensor of the rewrites; the second call does nothing.

    `symrnn.nn` calls it, so it has happened before any net can be built.
    """
    for name, (position, rewriters, tags) in REWRITES.items():
        if name not in optdb:
            rewriter = dfs_rewriter(*rewriters) if isinstance(rewriters, tuple) else rewriters
            optdb.register(name, rewriter, *tags, position=position)
