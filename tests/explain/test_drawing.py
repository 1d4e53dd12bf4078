"""Pictures of scans and traces can be drawn and saved."""

import matplotlib.pyplot as plt
import pytensor
import pytensor.tensor as pt
import pytest
from PIL import Image
from scan_gallery import each_case, fibonacci, library_lstm, scan

from symrnn.explain import animate, draw, draw_states, draw_step, trace


@each_case
def test_a_picture_can_be_drawn_and_saved(make, tmp_path):
    case = make()
    figure = draw(case.outputs, scan=case.scan)
    figure.savefig(tmp_path / "scan.svg")
    plt.close(figure)
    plt.close(draw_step(case.outputs, scan=case.scan))
    assert (tmp_path / "scan.svg").stat().st_size > 1000


def test_pictures_of_odd_scans_can_be_saved(tmp_path):
    x = pt.dvector("x")
    p = pt.dvector("price_$_0")
    s = scan(
        lambda a, b, c, p4, p2: (a + b + c + p4 - p2) / 2,
        sequences=[{"input": x, "taps": [-2, 0, 1]}],
        outputs_info=[{"initial": p, "taps": [-4, -2]}],
        go_backwards=True,
    )
    for figure in (draw(s), draw_step(s), draw(pytensor.grad(s.sum(), x))):
        figure.savefig(tmp_path / "scan.png")
        plt.close(figure)
    texts = [t.get_text() for t in draw(s).axes[1].texts]
    plt.close("all")
    assert "x[T-4], x[T-2], x[T-1]" in texts


def test_a_heat_map_and_a_walk_are_made_from_a_trace(tmp_path):
    case = library_lstm()
    traced = trace(case.outputs, case.inputs)
    ax = draw_states(traced, "c")
    assert ax.images[0].get_array().shape == (2, 3)
    plt.close(ax.figure)
    small = trace(fibonacci().outputs, {"f0": [0, 1]}, steps=range(3))
    with Image.open(animate(small, tmp_path / "walk.gif", seconds_per_step=0.5)) as picture:
        assert picture.n_frames == 3
    assert "<img" in animate(small, tmp_path / "walk.html").read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["walk.gif", "walk.html"]
    with pytest.raises(ValueError, match=r"must end in \.gif or \.html"):
        animate(small, tmp_path / "walk.mp4")
