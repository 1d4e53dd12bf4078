"""Each figure shows the numbers that it is given, and refuses those that do not fit."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from symrnn import plots

A, B = np.linspace(-1, 1, 5), np.linspace(0, 2, 4)
SURFACE = (A - 0.5) ** 2 + (B[:, None] - 1) ** 2 + 0.01


def test_loss_curves_draw_every_loss_on_a_logarithmic_axis():
    ax = plots.loss_curves({"one": [3.0, 2.0, 1.0], "two": np.array([5.0, 4.0])})
    assert [line.get_label() for line in ax.lines] == ["one", "two"]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [5, 4])
    assert (ax.get_yscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "step", "loss")
    assert plots.loss_curves({"one": [1.0]}, log=False).get_yscale() == "linear"


def test_a_surface_with_field_and_paths_is_drawn_on_the_axes_given():
    _, (left, right) = plt.subplots(1, 2)
    assert plots.cost_surface(A, B, SURFACE, ax=left, names=("w_x", "w_rec")) is left
    assert (left.get_xlabel(), left.get_ylabel()) == ("w_x", "w_rec")
    d_a, d_b = np.broadcast_arrays(2 * (A - 0.5), 2 * (B[:, None] - 1))
    assert plots.gradient_field(A, B, -d_a, -d_b, ax=right) is right
    path = [(-1.0, 0.0), (0.0, 0.5), (0.5, 1.0)]
    plots.paths({"descent": path}, ax=left)
    halo, line, start, end = left.lines
    np.testing.assert_array_equal(line.get_xydata(), path)
    np.testing.assert_array_equal(halo.get_xydata(), path)
    np.testing.assert_array_equal(start.get_xydata(), [path[0]])
    np.testing.assert_array_equal(end.get_xydata(), [path[-1]])
    left.figure.canvas.draw()


def test_a_flat_spot_gets_no_arrow():
    u = np.ones((4, 5))
    u[1, 2] = 0
    ax = plots.gradient_field(A, B, u, np.zeros((4, 5)))
    np.testing.assert_array_equal(ax.collections[0].Umask, (u == 0).ravel())
    ax.figure.canvas.draw()


def test_arrays_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must have shape \(4, 5\), not \(5, 4\)"):
        plots.cost_surface(A, B, SURFACE.T)
    with pytest.raises(ValueError, match=r"must have shape \(4, 5\), not \(4, 4\)"):
        plots.gradient_field(A, B, SURFACE, SURFACE[:, :4])
    for costs in (SURFACE - 1, SURFACE * np.nan, np.ones((4, 5))):
        with pytest.raises(ValueError, match="positive, finite and not all equal"):
            plots.cost_surface(A, B, costs)
    for scale in (0, np.nan):
        with pytest.raises(ValueError, match="the gradient is NaN or infinite somewhere, or zero"):
            plots.gradient_field(A, B, SURFACE * scale, SURFACE * scale)
    with pytest.raises(ValueError, match=r"the losses of 'one' have shape \(2, 2\)"):
        plots.loss_curves({"one": np.ones((2, 2))})
    with pytest.raises(ValueError, match=r"the path 'one' has shape \(3,\)"):
        plots.paths({"one": np.ones(3)}, ax=plt.subplots()[1])


def test_bands_show_the_median_of_all_runs_and_their_range():
    runs = np.array([[1.0, 2.0, 9.0], [3.0, 4.0, np.nan], [2.0, 8.0, 1.0]])
    ax = plots.loss_bands({"a": runs, "b": runs[:2]}, steps=[10, 20, 30])
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [(10, 2), (20, 4), (30, 5)])
    low, high = ax.collections[0].get_datalim(ax.transData).get_points()
    assert (low.tolist(), high.tolist()) == ([10, 1], [30, 9])
    with pytest.raises(ValueError, match=r"'a' have shape \(3,\), not \(runs, points\)"):
        plots.loss_bands({"a": runs[0]})
    with pytest.raises(ValueError, match="3 points of 'a', but steps has shape"):
        plots.loss_bands({"a": runs}, steps=[1, 2])


def test_a_search_is_drawn_in_a_panel_for_each_hyperparameter():
    values = {
        "learning_rate": [1e-3, 1e-2, 1e-1, 1.0], "hidden": [8, 8, 16, 16],
        "cell": ["a", "b", "a", "b"], "on": [True, False, None, True], "k": [1, 2, 3, 4],
    }  # fmt: skip
    axes = plots.search_results(values, [0.4, np.nan, 0.2, 30.0], name="cost")
    assert [ax.get_xlabel() for ax in axes] == ["learning_rate", "hidden", "cell", "on", "k"]
    assert [ax.get_xscale() for ax in axes] == ["log"] + 4 * ["linear"]
    assert {ax.get_yscale() for ax in axes} == {"log"}
    assert [ax.get_ylabel() for ax in axes] == ["cost", "", "", "", "cost"]
    dots, crosses, star = axes[2].lines
    np.testing.assert_array_equal(dots.get_xydata(), [[0, 0.4], [0, 0.2], [1, 30]])
    np.testing.assert_array_equal(crosses.get_xdata(), [1])
    np.testing.assert_array_equal(star.get_xydata(), [[0, 0.2]])
    assert [label.get_text() for label in axes[3].get_xticklabels()] == ["True", "False", "None"]
    axes[0].figure.canvas.draw()
    (ax,) = plots.search_results({"k": [1, 2]}, [1, 2], lowest=False, axes=[plt.subplots()[1]])
    np.testing.assert_array_equal(ax.lines[2].get_xydata(), [[2, 2]])


def test_numbers_of_numpy_are_numbers_and_few_of_them_have_the_ticks():
    values = {"hidden": np.array([32, 8, 16]), "std": np.array([0.3, 0.1, 0.2], dtype="float32")}
    axes = plots.search_results(values, [1.0, 2.0, 3.0])
    for ax, column in zip(axes, values.values(), strict=True):
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), column)
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["8", "16", "32"]
    assert [label.get_text() for label in axes[1].get_xticklabels()] == ["0.1", "0.2", "0.3"]


def test_search_results_that_do_not_fit_are_refused():
    for values in ({}, {"a": [1, 2, 3]}):
        with pytest.raises(ValueError, match=r"the metric has shape \(2,\)"):
            plots.search_results(values, [1, 2])
    with pytest.raises(ValueError, match="none of 2 trials has a finite loss"):
        plots.search_results({"a": [1, 2]}, [np.nan, np.inf])
    with pytest.raises(ValueError, match="there are 0 axes for 1 hyperparameters"):
        plots.search_results({"a": [1, 2]}, [1, 2], axes=[])


def _attention(source, target):
    weights = np.random.default_rng(0).random((len(target), len(source)))
    return weights / weights.sum(axis=1, keepdims=True)


def test_a_map_of_attention_has_the_source_along_x_and_the_target_along_y():
    source, target = "a $1$ b", [*"x2", "<eos>"]
    weights = _attention(source, target)
    ax = plots.attention_map(weights, source, target)
    np.testing.assert_array_equal(ax.images[0].get_array(), weights)
    assert [label.get_text() for label in ax.get_xticklabels()] == [*"a␣$1$␣b"]
    assert [label.get_text() for label in ax.get_yticklabels()] == target
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("source", "target")
    low, high = ax.get_ylim()
    assert low > high  # the first token of the target is on top
    assert ax.images[0].get_clim() == (0, weights.max())
    assert len(ax.figure.axes) == 2
    ax.figure.canvas.draw()
    _, given = plt.subplots()
    assert plots.attention_map(weights, source, target, ax=given, colorbar=False) is given
    assert len(given.figure.axes) == 1
    numbers = plots.attention_map(weights[:1, :2], [10, "\n"], ["y"])  # tokens need not be strings
    assert [label.get_text() for label in numbers.get_xticklabels()] == ["10", "↵"]
    words = plots.attention_map(weights[:1, :2], ["long", "words"], ["y"])
    assert {label.get_rotation() for label in words.get_xticklabels()} == {90}


def test_a_strip_shows_the_target_as_it_grows_beside_the_source():
    source, target = "16+75", [*"91", "<eos>"]
    weights = _attention(source, target)
    axes = plots.attention_strip(weights, source, target)
    for ax, row, token, before in zip(axes, weights, target, ["", "9", "91"], strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), [row])
        assert ax.images[0].get_clim() == (0, weights.max())
        assert [text.get_text() for text in ax.texts] == [*source, token, before]
    axes[0].figure.canvas.draw()
    (ax,) = plots.attention_strip([[0.5, 0.5], [1, 0]], ["say", "yes"], ["dis", "oui"], steps=[1])
    assert [text.get_text() for text in ax.texts] == ["say", "yes", "oui", "dis "]
    assert [text.get_color() for text in ax.texts[:2]] == ["white", "black"]


def test_a_strip_has_at_most_twelve_panels_from_the_first_to_the_last_step():
    axes = plots.attention_strip(_attention("ab", "c" * 30), "ab", "c" * 30)
    written = [len(ax.texts[-1].get_text()) for ax in axes]
    assert (len(axes), written[0], written[-1]) == (12, 0, 29)
    assert set(np.diff(written)) == {2, 3}


@pytest.mark.parametrize("draw", [plots.attention_map, plots.attention_strip])
def test_attention_that_does_not_fit_is_refused(draw):
    with pytest.raises(ValueError, match=r"\(3, 2\), but must .* \(target, source\) = \(2, 3\)"):
        draw(np.ones((3, 2)), "abc", "de")
    with pytest.raises(ValueError, match="at least one of each"):
        draw(np.ones((0, 3)), "abc", "")
    with pytest.raises(ValueError, match=r"the weights are None: .* has no attention"):
        draw(None, "abc", "de")
    for wrong in (-1, np.nan, np.inf):
        with pytest.raises(
            ValueError, match="attention weights must not be negative, NaN or infinite"
        ):
            draw(np.full((2, 3), wrong), "abc", "de")


@pytest.mark.parametrize("steps", [[], [2], [-1], [0.5], [[0]], 1])
def test_steps_outside_the_target_are_refused(steps):
    with pytest.raises(ValueError, match=r"but must be some of 0 to 1$"):
        plots.attention_strip(np.ones((2, 3)), "abc", "de", steps=steps)


def test_a_latent_plane_shows_each_image_at_its_point():
    z, values = np.array([[0.0, 1.0], [-1.0, 0.5]]), [3, 7]
    images = np.zeros((3, 3, 2, 4))
    images[0, 2] = 1  # lowest row, last column: (z_1, z_2) = (1, -1)
    points, grid = plots.latent_plane(z, values, images, extent=1.0, label="height", limits=(0, 2))
    np.testing.assert_array_equal(points.collections[0].get_offsets(), z)
    np.testing.assert_array_equal(points.collections[0].get_array(), values)
    (drawn,) = grid.images
    left, right, bottom, top = drawn.get_extent()
    assert (left, right, bottom, top) == (-1.5, 1.5, -1.5, 1.5)
    assert drawn.get_clim() == (0, 2)
    mosaic = drawn.get_array()
    rows, columns = np.nonzero(mosaic == 1)
    x = left + (columns + 0.5) / mosaic.shape[1] * (right - left)
    y = top - (rows + 0.5) / mosaic.shape[0] * (top - bottom)
    assert len(x) == 8
    assert (abs(x - 1) < 0.5).all()
    assert (abs(y + 1) < 0.5).all()
    np.testing.assert_allclose(plots.latent_grid(3, extent=1.0), [-1, 0, 1])
    for v, wrong, axes, message in (
        ([1, 2, 3], images, None, r"z has shape \(2, 2\), values \(3,\)"),
        (values, images[:, :2], None, r"images \(3, 2, 2, 4\), .* a square grid"),
        (values, images[:0, :0], None, "a square grid"),
        (values, images, points, "axes is .*, but must be two"),
        (values, images, [points], "must be two"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.latent_plane(z, v, wrong, axes=axes)


def test_memory_use_is_drawn_in_five_panels_with_time_across():
    rng = np.random.default_rng(1)
    x, t, w = rng.integers(2, size=(7, 4)), rng.integers(2, size=(3, 3)), rng.random((7, 5))
    p = np.zeros((7, 3))
    p[-3:] = t
    p[-1, 2] = 1 - t[-1, 2]
    axes = plots.memory_use(x, t, p, w, w)
    labels = ["input", "target", "prediction", "slot\nwritten", "slot\nread"]
    assert [ax.get_ylabel() for ax in axes] == labels
    np.testing.assert_array_equal(axes[0].images[0].get_array(), x.T)
    np.testing.assert_array_equal(axes[1].images[0].get_array()[:, 4:], t.T)
    np.testing.assert_array_equal(axes[4].images[0].get_array(), w.T)
    np.testing.assert_array_equal(axes[2].lines[0].get_xydata(), [[6, 2]])  # the wrong bit
    axes[0].figure.canvas.draw()
    with pytest.raises(ValueError, match="one sequence"):
        plots.memory_use(x, t, p, w, w[1:])
    with pytest.raises(ValueError, match="one sequence"):
        plots.memory_use(x, t, p[:, :2], w, w)


def test_a_tree_has_its_root_at_the_top_and_its_leaves_in_order():
    labels = [*"123*+"]
    ax = plots.tree(labels, [[0, 0], [0, 0], [0, 0], [2, 3], [1, 4]], colours=["red"] * 5)
    assert [text.get_text() for text in ax.texts] == labels
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places == {"1": (0, -1), "+": (1, 0), "2": (2, -2), "*": (3, -1), "3": (4, -2)}
    assert len(ax.lines) == 4
    ax.figure.canvas.draw()
    leaf = [0, 0]
    for children, message in (
        ([leaf] * 4, r"must be integers of shape \(5, 2\), not int64 of shape \(4, 2\)"),
        (np.zeros((5, 2)), "must be integers .* not float64"),
        ([leaf] * 4 + [[1, 5]], "each child must come before its parent"),
        ([leaf, [1, 0], [0, 2], [0, 3], [0, 4]], "two children or none"),
        ([leaf] * 4 + [[1, 2]], "must be the child of one"),  # several trees
        ([leaf, leaf, [1, 2], leaf, [3, 3]], "must be the child of one"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.tree(labels, children)


def test_a_map_shows_each_word_once_at_its_point_and_joins_pairs():
    points = np.random.default_rng(1).normal(size=(6, 2))
    words, groups = list("abcdef"), ["one", "one", "two", "two", "three", "three"]
    ax = plots.word_map(points, words, groups=groups, pairs=[("a", "c"), ("b", "d")])
    labels = [t for t in ax.texts if t.get_text()]
    assert [t.get_text() for t in labels] == words
    np.testing.assert_array_equal([t.xy for t in labels], points)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["one", "two", "three"]
    assert len({t.get_color() for t in labels}) == 3
    lines = [np.transpose(line.get_data()) for line in ax.lines]
    np.testing.assert_array_equal(lines, [points[[0, 2]], points[[1, 3]]])
    assert plots.word_map(points[:1], ["a"]).get_legend() is None
    part = plt.figure().subfigures(1, 2)[0].subplots()  # in a part of a figure, too
    assert plots.word_map(points[:1], ["a"], ax=part) is part


def test_labels_of_a_map_do_not_cover_each_other():
    points = np.random.default_rng(1).normal(size=(20, 2)) * 0.01  # and one far away: a crowd
    ax = plots.word_map(np.concatenate([points, [[1, 1]]]), [f"word {k}" for k in range(21)])
    boxes = [t.get_window_extent() for t in ax.texts if t.get_text()]
    overlaps = [a.intersection(a, b) for k, a in enumerate(boxes) for b in boxes[:k]]
    assert sum(o is not None and min(o.width, o.height) > 1 for o in overlaps) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": np.zeros((3, 2))}, r"must be finite and have shape .* \(2, 2\)"),
        ({"points": [[0, 0], [0, np.nan]]}, "must be finite"),
        ({"groups": ["one"]}, "there are 1 groups for 2 words"),
        ({"pairs": [("a", "x")]}, "'x', which has no point"),
    ],
)
def test_points_that_do_not_fit_the_words_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plots.word_map(**{"points": np.zeros((2, 2)), "words": ["a", "b"]} | options)
