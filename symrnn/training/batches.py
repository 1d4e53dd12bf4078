"""Batches of arrays, and the check of a batch against the function it is given to."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import NDArray

from symrnn._validate import check_rng

Batch = tuple[Any, ...]


def minibatches(
    arrays: Sequence[Any],
    batch_size: int,
    *,
    rng: Generator | RandomState | None = None,
    axes: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Split arrays into batches of samples, in random order if a generator is given.

    Parameters
    ----------
    arrays
        Arrays with the same samples, for example x of shape ``(time, batch, features)`` and t of
        shape ``(batch,)``.
    batch_size
        Number of samples in a batch, at least 1; the last batch holds what is left.
    rng
        Generator for the order of the samples. Default: keep the order of the arrays.
    axes
        The axis of the samples in each array, for example ``[1, 0]``. Default: the first.

    Yields
    ------
    tuple of arrays
        One batch.

    Examples
    --------
    >>> x, t = np.arange(10).reshape(2, 5), np.arange(5)  # (time, samples) and (samples,)
    >>> [(a.shape, b.shape) for a, b in minibatches([x, t], 2, axes=[1, 0])]
    [((2, 2), (2,)), ((2, 2), (2,)), ((2, 1), (1,))]
    """
    arrays = [np.asarray(a) for a in arrays]
    axes = [0] * len(arrays) if axes is None else axes
    if len(axes) != len(arrays):
        raise ValueError(f"axes has {len(axes)} entries for {len(arrays)} arrays: one each")
    if rng is not None:
        check_rng(rng, legacy=True)
    counts = [a.shape[axis] for a, axis in zip(arrays, axes, strict=True)]
    if len(set(counts)) != 1 or counts[0] == 0 or batch_size < 1:
        raise ValueError(
            f"the arrays have {counts} samples along axes {list(axes)} and batch_size is "
            f"{batch_size}: all must have the same number, and no number may be 0; "
            "for time-major arrays the samples are on axis 1"
        )
    order = np.arange(counts[0]) if rng is None else rng.permutation(counts[0])
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield tuple(a.take(chosen, axis) for a, axis in zip(arrays, axes, strict=True))


def check_batch(function: Any, batch: Batch) -> None:
    """Check arrays against the inputs of a compiled function; raise TypeError or ValueError.

    Errors, besides those of `pytensor.function`, are: integers where the function computes with
    floats, since they usually are token ids or classes in the wrong place; empty arrays; NaN and
    infinity.

    Parameters
    ----------
    function
        A compiled function; any other callable is not checked.
    batch
        The arrays it is to be called with.
    """
    if not isinstance(batch, tuple | list):
        raise TypeError(
            f"a batch must be a tuple of arrays, not a {type(batch).__name__}: "
            "to train on one batch give [(X, t)], a list with one tuple in it"
        )
    if not hasattr(function, "maker"):
        return
    inputs = [i for i in function.maker.inputs if not i.implicit]
    if len(batch) != len(inputs):
        raise ValueError(
            f"a batch has {len(batch)} arrays, but the function has {len(inputs)} inputs: "
            f"{', '.join(str(i.variable.name) for i in inputs)}"
        )
    for i, given in zip(inputs, batch, strict=True):
        _check_array(i.variable, given, i.allow_downcast)


def _check_array(variable: Any, given: Any, allow_downcast: bool | None) -> None:
    """Check one array against the input variable that it is meant for."""
    name, expected = variable.name or "an input", variable.type
    array = given if hasattr(given, "dtype") else np.asarray(given)
    if not isinstance(array, np.ndarray):  # a sparse matrix, for example: PyTensor checks it
        return
    if array.ndim != expected.ndim:
        raise ValueError(
            f"{name} was given with shape {array.shape}, but the function expects "
            f"{expected.ndim} axes"
        )
    is_float = expected.dtype.startswith("float")
    if array.ndim and is_float and array.dtype.kind in "biu":
        raise TypeError(_convert(name, array, expected))
    try:
        expected.filter(given, allow_downcast=allow_downcast)
    except TypeError as error:
        raise TypeError(_convert(name, array, expected)) from error
    if array.size == 0:
        raise ValueError(f"{name} was given with shape {array.shape}: it is empty")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"{name} has {np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite: "
            "remove or replace them before training, even where a mask leaves them out"
        )


def _convert(name: str, array: NDArray[Any], expected: Any) -> str:
    return (
        f"{name} was given as {array.dtype} with shape {array.shape}, but the function expects "
        f"{expected.dtype} with shape {str(expected.shape).replace('None', '?')}: "
        f"convert it once, with {name}.astype({expected.dtype!r})"
    )
