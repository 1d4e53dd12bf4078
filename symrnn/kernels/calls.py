"""Calls a kernel with NumPy arrays: checks them, makes those for the results, fills in the job."""

from collections.abc import Sequence


import numpy as np

from symrnn.kernels.buffers import ALIGNMENT, empty
from symrnn.kernels.loop import SIZES, Kernel, Layout
from symrnn.kernels.machine import n_threads
from symrnn.kernels.product import panel_width, scratch_size


def call_kernel(kernel: Kernel, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the outputs of a loop's kernel.

    Raises
    ------
    ValueError
        If an input has another shape than the layout says.
    """
    layout = kernel.layout
    named = dict(zip(layout.inputs, inputs, strict=True))
    time, batch, _ = (named["zx"] if "zx" in named else named["state0"]).shape
    sizes = {"time": time, "batch": batch, "n_hidden": named["W_h"].shape[0], "one": 1}
    if not (time and batch):
        raise ValueError(f"a recurrent layer got {time} steps of {batch} samples: it needs at least one")
    arrays = {
        name: _checked(name, named[name], [factor * sizes[size] for factor, size in shape])
        for name, shape in layout.inputs.items()
    }
    dtype = arrays["W_h"].dtype
    for name, shape in [*layout.outputs.items(), *layout.working.items()]:
        arrays[name] = empty([factor * sizes[size] for factor, size in shape], dtype)
    for name, source in layout.initial.items():
        arrays[name][...] = 0 if source is None else arrays[source]
    threads = n_threads()
    arrays["panels"] = empty((panels_size(layout, sizes["n_hidden"], str(dtype)),), dtype)
    arrays["scratch"] = empty((scratch_size(str(dtype), threads) + spare(str(dtype)),), dtype)
    numbers = {"n_threads": threads, **sizes}
    job = np.array(
        [
            numbers[name] if name in SIZES else arrays[name].__array_interface__["data"][0]
            for name in layout.job
        ],
        np.int64,
    )
    kernel.call(job.ctypes.data)
    return [arrays[name] for name in layout.outputs]


def panels_size(layout: Layout, n_hidden: int, dtype: str) -> int:
    """How many numbers the packed matrix has, and some more so that it can begin where a vector does."""
    (depth, _), (columns, _) = layout.panels
    width = panel_width(dtype)
    return -(-columns * n_hidden // width) * width * depth * n_hidden + spare(dtype)


def spare(dtype: str) -> int:
    """Numbers by which an array is longer than needed, to begin where a vector does."""
    return ALIGNMENT // np.dtype(dtype).itemsize


def _checked(name: str, array: np.ndarray, shape: list[int]) -> np.ndarray:
    """The array, contiguous."""
    if list(array.shape) != shape:
        if name.startswith("mask"):
            array = np.broadcast_to(array, shape)
        else:
            raise ValueError(
                f"a recurrent layer got {name} of shape {array.shape}, not {tuple(shape)}"
            )
    return np.ascontiguousarray(array)


