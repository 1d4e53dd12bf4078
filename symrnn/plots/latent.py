"""A two-dimensional latent space: where samples lie, and what is decoded from its points."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike


def latent_plane(
    z: ArrayLike,
    values: ArrayLike,
    images: ArrayLike,
    *,
    extent: float = 2.5,
    label: str = "",
    axes: Sequence[Axes] | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
) -> list[Axes]:
    """Draw a latent plane twice: the samples as points, and the images decoded from a grid.

    Parameters
    ----------
    z
        Positions of the samples, shape ``(samples, 2)``.
    values
        Numbers that colour the points, shape ``(samples,)``.
    images
        Images decoded at the points of a square grid, shape ``(n, n, height, width)``;
        ``images[i, j]`` belongs to ``(z_1, z_2) = (g[j], g[i])`` with
        ``g = latent_grid(n, extent=extent)``, so z_2 grows upwards. Vectors are images with one
        row, ``decoded.reshape(n, n, 1, -1)``.
    extent
        The grid reaches from ``-extent`` to ``extent``, and the plane is drawn half an image
        further, to ``extent (1 + 1 / (n - 1))`` on each side.
    label
        Meaning of the colours.
    axes
        Two Axes to draw on; by default a new figure.
    limits
        Values drawn as white and as black; values beyond them are clipped.

    Returns
    -------
    list of matplotlib.axes.Axes
        Axes of the points, and of the images.

    Examples
    --------
    >>> grid = latent_grid(3, extent=2.0)
    >>> z_2, z_1 = np.meshgrid(grid, grid, indexing="ij")
    >>> images = np.stack([z_1, z_2], axis=-1).reshape(3, 3, 1, 2)  # of one row, two columns
    >>> z = np.random.default_rng(1).normal(size=(50, 2))
    >>> points, images = latent_plane(z, z[:, 0], images, extent=2.0, limits=(-2, 2))
    """
    z, values, images = (np.asarray(a, float) for a in (z, values, images))
    fit = z.ndim == 2 and z.shape[1] == 2 and values.shape == z.shape[:1]
    if not fit or images.ndim != 4 or not images.size or images.shape[0] != images.shape[1]:
        raise ValueError(
            f"z has shape {z.shape}, values {values.shape} and images {images.shape}, but they "
            "must have (samples, 2), (samples,) and (n, n, height, width), a square grid"
        )
    if axes is not None and (isinstance(axes, Axes) or len(axes) != 2):
        raise ValueError(f"axes is {axes!r}, but must be two: of the points and of the images")
    if axes is None:
        axes = list(plt.subplots(1, 2, figsize=(11, 5), layout="constrained")[1])
    points, grid = axes
    drawn = points.scatter(z[:, 0], z[:, 1], c=values, cmap="viridis", s=10)
    points.figure.colorbar(drawn, ax=points, label=label, pad=0.02)
    n, _, height, width = images.shape
    # the first row of images is the lowest one
    mosaic = images[::-1].transpose(0, 2, 1, 3).reshape(n * height, n * width)
    half = extent * (1 + 1 / (n - 1)) if n > 1 else extent
    low, high = limits
    grid.imshow(mosaic, cmap="Greys", vmin=low, vmax=high, extent=(-half, half, -half, half))
    for edge in np.linspace(-half, half, n + 1)[1:-1]:
        grid.axhline(edge, color="#cfd8e3", linewidth=1)
        grid.axvline(edge, color="#cfd8e3", linewidth=1)
    for ax in axes:
        ax.set(
            xlabel="$z_1$", ylabel="$z_2$", xlim=(-half, half), ylim=(-half, half), aspect="equal"
        )
    return [points, grid]


def latent_grid(n: int, *, extent: float = 2.5) -> Any:
    """Return the coordinates of the grid that `latent_plane` shows, shape ``(n,)``.

    Parameters
    ----------
    n
        Number of points in each direction.
    extent
        The grid reaches from ``-extent`` to ``extent``.

    Examples
    --------
    >>> latent_grid(5, extent=2.0).tolist()
    [-2.0, -1.0, 0.0, 1.0, 2.0]
    """
    return np.linspace(-extent, extent, n)
