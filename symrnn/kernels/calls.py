"""Calls kernels with NumPy arrays: checks them, makes those for the results, fills in the job."""

from collections.abc import Sequence

import numpy as np

from symrnn.kernels.buffers import ALIGNMENT, empty
from symrnn.kernels.loop import SIZES, Kernel, Layout
from symrnn.kernels.machine import n_threads
from symrnn.kernels.product import call_product, panel_width, scratch_size


def call_kernel(kernel: Kernel, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the outputs of a loop's kernel.

    Raises
    ------
    ValueError, TypeError
        If an input has another shape than the layout says, or another dtype.
    """
    layout = kernel.layout
    named = dict(zip(layout.inputs, inputs, strict=True))
    time, batch, _ = (named["zx"] if "zx" in named else named["state0"]).shape
    sizes = {"time": time, "batch": batch, "n_hidden": named["W_h"].shape[0], "one": 1}
    if not (time and batch):
        raise ValueError(
            f"a recurrent layer got {time} steps of {batch} samples: it needs at least one of each"
        )
    dtype = named["W_h"].dtype
    arrays = {
        name: _checked(name, named[name], [factor * sizes[size] for factor, size in shape], dtype)
        for name, shape in layout.inputs.items()
    }
    for name, shape in [*layout.outputs.items(), *layout.working.items()]:
        arrays[name] = empty([factor * sizes[size] for factor, size in shape], dtype)
    for name, source in layout.initial.items():
        arrays[name][...] = 0 if source is None else arrays[source]
    threads = n_threads()
    arrays["panels"] = empty((panels_size(layout, sizes["n_hidden"], str(dtype)),), dtype)
    arrays["scratch"] = empty((scratch_size(str(dtype), threads) + spare(str(dtype)),), dtype)
    numbers = {"n_threads": threads, **sizes}
    job = np.array(
        [numbers[name] if name in SIZES else _address(arrays[name]) for name in layout.job],
        np.int64,
    )
    kernel.call(job.ctypes.data)
    return [arrays[name] for name in layout.outputs]


def panels_size(layout: Layout, n_hidden: int, dtype: str) -> int:
    """How many numbers the packed matrix has, with some more to begin where a vector does."""
    (depth, _), (columns, _) = layout.panels
    width = panel_width(dtype)
    return -(-columns * n_hidden // width) * width * depth * n_hidden + spare(dtype)


def spare(dtype: str) -> int:
    """Numbers by which an array is longer than needed, to begin where a vector does."""
    return ALIGNMENT // np.dtype(dtype).itemsize


def _checked(name: str, array: np.ndarray, shape: list[int], dtype: np.dtype) -> np.ndarray:
    """The array, contiguous."""
    wanted = np.dtype(bool) if name.startswith("mask") else dtype
    if array.dtype != wanted and not (name.startswith("captured") and array.dtype == bool):
        raise TypeError(f"a recurrent layer got {name} of dtype {array.dtype}, not {wanted}")
    if list(array.shape) != shape:
        if name.startswith("mask"):
            array = np.broadcast_to(array, shape)
        else:
            raise ValueError(
                f"a recurrent layer got {name} of shape {array.shape}, not {tuple(shape)}"
            )
    return np.ascontiguousarray(array)


FEW = 2**18
"""Multiplications for which BLAS starts no threads, and takes less time than to call a kernel."""


def multiply(a: np.ndarray, b: np.ndarray, add: np.ndarray | None = None) -> np.ndarray:
    """Return ``a @ b + add``, of two matrices or of two batches of them.

    Parameters
    ----------
    a, b
        Of one dtype, float32 or float64, in any memory layout.
    add
        One number for each column.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> multiply(np.eye(2), np.ones((2, 3)), np.arange(3.0))
    array([[1., 2., 3.],
           [1., 2., 3.]])
    """
    batch = a.shape[:-2]
    (rows, depth), columns = a.shape[-2:], b.shape[-1]
    if b.shape[:-1] != (*batch, depth) or (add is not None and add.shape != (columns,)):
        shapes = " and ".join(str(x.shape) for x in (a, b, add) if x is not None)
        raise ValueError(f"arrays of shapes {shapes} cannot be multiplied, and added to")
    if rows == 1 or rows * depth * columns * (batch[0] if batch else 1) < FEW:
        out: np.ndarray = np.matmul(a, b)
        return out if add is None else np.add(out, add)
    dtype, size = str(a.dtype), a.itemsize
    if add is not None:
        add = np.ascontiguousarray(add)
    out = empty((*batch, rows, columns), dtype)
    threads = n_threads()
    scratch = empty((scratch_size(dtype, threads) + spare(dtype),), dtype)
    job = np.array(
        [
            *(threads, batch[0] if batch else 1, rows, columns, depth),
            *(_address(a), *([] if batch else [0]), *(stride // size for stride in a.strides)),
            *(_address(b), *([] if batch else [0]), *(stride // size for stride in b.strides)),
            *(0 if add is None else _address(add), 0, _address(out), _address(scratch)),
        ],
        np.int64,
    )
    call_product(dtype)(job.ctypes.data)
    return out


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
