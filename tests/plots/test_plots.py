import numpy as np
from PIL import Image

from vla_tutorial import plots


def test_first_close(lines):
    assert plots.first_close(lines) == 4
    assert plots.first_close(lines[:4]) is None


def test_episode_figure_shows_each_signal(lines):
    figure = plots.episode_figure(lines, title="one")
    labels = [axis.get_ylabel().replace("\n", " ") for axis in figure.axes]
    assert labels == [
        "gripper command",
        "end-effector height (cm)",
        "commanded motion |a|",
        "reward",
    ]
    assert any("first close: 4" in text.get_text() for text in figure.axes[0].texts)


def test_overlay_has_a_legend(lines):
    figure = plots.episode_figure(lines, lines[:6], labels=("a", "b"))
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["a", "b"]


def test_equal_figures_are_equal_files(lines, tmp_path):
    for name in ("a.png", "b.png"):
        plots.save(plots.episode_figure(lines), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert np.asarray(Image.open(tmp_path / "a.png")).std() > 5


def test_style_does_not_leak(lines):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plots.episode_figure(lines)
    assert dict(mpl.rcParams) == before


def test_training_curves_show_what_there_is(tmp_path):
    lines = [
        {"step": s, "cross_entropy": 4.0 / s, "success": None if s < 3 else 0.1 * s}
        for s in range(1, 6)
    ]
    figure = plots.training_figure(lines, title="a run")
    loss, success = figure.axes
    assert len(loss.lines[0].get_xdata()) == 5
    assert len(success.lines[0].get_xdata()) == 3
    assert success.get_ylim() == (0, 1)
