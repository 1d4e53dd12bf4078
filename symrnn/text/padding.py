"""Padding: sequences of different lengths side by side in one array, with a mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from symrnn.text.tokens import EOS


def padded(
    sequences: Sequence[ArrayLike], *, dtype: DTypeLike = np.int64
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Put sequences of different lengths side by side, shorter ones padded with zeros.

    Parameters
    ----------
    sequences
        At least one, each of shape ``(time,)``.
    dtype
        Data type of the array.

    Returns
    -------
    array : array of shape (time, batch)
        One sequence per column; as many steps as the longest sequence has.
    mask : array of bool of shape (time, batch)
        True at valid steps, False in padding.

    Examples
    --------
    >>> array, mask = padded([[1, 2, 3], [4]])
    >>> array.tolist()
    [[1, 4], [2, 0], [3, 0]]
    >>> mask.T.tolist()
    [[True, True, True], [True, False, False]]
    """
    columns = [np.asarray(sequence) for sequence in sequences]
    shapes = {column.shape for column in columns if column.ndim != 1}
    if not columns or shapes:
        raise ValueError(
            f"of {len(columns)} sequences some have shape {shapes or '()'}, but there must be at "
            "least one, and each must have shape (time,)"
        )
    for k, column in enumerate(columns):
        if column.size and not np.can_cast(column.dtype, dtype, "same_kind"):
            raise TypeError(
                f"sequence {k} is {column.dtype}, but must be {np.dtype(dtype)}: token ids are "
                "whole numbers, and for others give dtype=float"
            )
    lengths = np.array([len(column) for column in columns])
    mask = np.arange(lengths.max())[:, None] < lengths
    array = np.zeros(mask.shape, dtype)
    array.T[mask.T] = np.concatenate(columns)
    return array, mask


def checked_ids(ids: ArrayLike, name: str, *, eos: int | None = None) -> NDArray[np.int64]:
    """Return token ids as an int64 array of shape ``(time,)``.

    It is an error if they are anything else, or hold `eos` where it is still to be appended.
    """
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, but must have shape (time,)")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} is {array.dtype}, but must be whole numbers, the token ids of "
            "vocabulary.encode(...)"
        )
    if eos is not None and eos in array:
        raise ValueError(
            f"{name} holds {eos}, the token id of {EOS}, which is appended here: leave it out"
        )
    return array.astype(np.int64)
