"""Arrays that lie within larger ones, to see whether a kernel reads or writes beyond them."""

import numpy as np

WIDTH = 70  # more numbers than any vector or panel has
NEVER = -12345.0


class Bordered:
    """A copy of an array, with a border before and after it.

    A border of NaN, the default, shows in the result if it is read.
    """

    def __init__(self, value, border=np.nan):
        value = np.asarray(value)
        border = True if value.dtype == bool else border
        self._memory = np.full(value.size + 2 * WIDTH, border, value.dtype)
        self.array = self._memory[WIDTH : WIDTH + value.size].reshape(value.shape)
        self.array[...] = value
        self._borders = self._all_borders()

    def _all_borders(self):
        return self._memory[:WIDTH].tobytes() + self._memory[-WIDTH:].tobytes()

    @property
    def address(self):
        return self.array.ctypes.data

    def is_intact(self):
        return self._all_borders() == self._borders
