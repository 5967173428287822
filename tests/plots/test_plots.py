import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from vla_tutorial import decoding, plots
from vla_tutorial.log import log_of
from vla_tutorial.stats import rate


@pytest.fixture
def log(lines):
    return log_of(lines)


def test_episode_figure_shows_each_signal(log):
    figure = plots.episode_figure(log, title="one")
    labels = [axis.get_ylabel().replace("\n", " ") for axis in figure.axes]
    assert labels == [
        "gripper command",
        "height of the hand (cm)",
        "commanded motion |a|",
        "reward",
    ]
    assert any("first close: 4" in text.get_text() for text in figure.axes[0].texts)
    assert any("success: 9" in text.get_text() for text in figure.axes[3].texts)


def test_a_gripper_that_never_closes_is_not_marked(lines):
    figure = plots.episode_figure(log_of(lines[:4]))
    assert not figure.axes[0].texts


def test_overlay_has_a_legend(log, lines):
    figure = plots.episode_figure(log, log_of(lines[:6]), labels=("a", "b"))
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["a", "b"]


def test_equal_figures_are_equal_files(log, tmp_path):
    for name in ("a.png", "b.png"):
        plots.save(plots.episode_figure(log), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert np.asarray(Image.open(tmp_path / "a.png")).std() > 5


def test_style_does_not_leak(log):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plots.episode_figure(log)
    assert dict(mpl.rcParams) == before


def test_training_curves_show_what_there_is():
    lines = [
        {"step": s, "cross_entropy": 4.0 / s, key: None if s < 3 else 0.1 * s}
        for s in range(1, 6)
        for key in ("libero_10", "libero_goal")
    ]
    figure = plots.training_figure(lines, title="a run")
    loss, success = figure.axes
    assert len(loss.lines[0].get_xdata()) == 10
    assert [len(line.get_xdata()) for line in success.lines] == [3, 3]
    assert [text.get_text() for text in success.get_legend().get_texts()] == [
        "libero_goal",
        "libero_10",
    ]
    assert success.get_ylim() == (0, 1)
    # Older runs knew one suite.
    (success,) = plots.training_figure([{"step": 1, "success": 0.5}]).axes
    assert len(success.lines) == 1


def test_histogram_stacks_failures_on_successes_with_never_apart():
    figure = plots.histogram_figure([plots.Values("x", [10, 12, None], [12, 30])], "steps")
    bars = figure.axes[0].patches
    assert sum(bar.get_height() for bar in bars) == 5
    assert max(bar.get_y() + bar.get_height() for bar in bars) == 2
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels[-1] == "never"
    without = plots.histogram_figure([plots.Values("x", [1, 2], [3])], "steps")
    assert "never" not in [label.get_text() for label in without.axes[0].get_xticklabels()]


FIGURES = {
    "forest": lambda: plots.forest_figure(
        [
            plots.Row("published", rate(45, 50), rate(40, 50).interval),
            plots.Row("a & <b>", None),
            plots.Row("a label that is too long to stand beside", rate(3, 50)),
        ]
    ),
    "beside": lambda: plots.forest_figure([plots.Row("no_flip", rate(0, 20))], beside=True),
    "confusion": lambda: plots.confusion_figure(
        {"pixels": {"pixels": 3, "policy": 1}, "chance": {}}, ["pixels", "policy", "nothing wrong"]
    ),
    "versions": lambda: plots.versions_figure(
        ["3.3.2", "3.3.3"],
        [plots.ByVersion("floor", [195.4, 144.7]), plots.ByVersion("mm", [0, 0])],
    ),
    "gaps": lambda: plots.gaps_figure(
        ["libero_goal", "libero_object"], {"a": [1, -20.5]}, [(-3, 2), (-1, 0)]
    ),
    "histogram": lambda: plots.histogram_figure([plots.Values("x", [1, None], [4, 5.0])], "steps"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_inline_svg_fits_into_a_page(name):
    description = 'what "it" is & <so>'
    text = plots.inline_svg(FIGURES[name](), name, description)
    svg = ElementTree.fromstring(text)
    assert svg.tag == "svg"
    assert svg.attrib.keys() == {"class", "role", "aria-label", "viewBox"}
    assert svg.get("aria-label") == description
    elements = list(svg.iter())
    assert not {"metadata", "style", "title"} & {element.tag for element in elements}
    for nothing in ("http", "xmlns", "<!--", "font-family", "#0072b2", "#d55e00", "#999999"):
        assert nothing not in text.lower()

    ids = [element.get("id") for element in elements if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(found.startswith(f"{name}-") for found in ids)
    # Markers and clip paths are found under their new names.
    used = re.findall(r'href="#([^"]+)|url\(#([^)]+)', text)
    assert used
    assert {a or b for a, b in used} <= set(ids)


def test_inline_svg_keeps_what_was_drawn():
    """Its shapes and texts are those of the file that Matplotlib writes, in the page's colours."""
    text = plots.inline_svg(FIGURES["forest"](), "f", "")
    for words in ("published", "a &amp; &lt;b&gt;", "no episode ended", "95 % intervals"):
        assert words in text
    assert text.count("var(--success)") >= 4
    assert "var(--soft)" in text
    assert "var(--line)" in text
    assert "currentColor" in text
    assert text == plots.inline_svg(FIGURES["forest"](), "f", "")
    other = plots.inline_svg(FIGURES["forest"](), "g", "")
    assert len(other) == len(text)


def test_a_forest_plot_fits_a_telephone():
    """In a column of 350 pixels its letters have 12, and no text leaves the drawing."""
    sentence = "put the white mug on the plate and put the chocolate pudding right of it"
    for rows, beside in (([sentence, "b"], False), (["gripper_not_binarised", "b"], True)):
        figure = plots.forest_figure([plots.Row(label, rate(5, 5)) for label in rows], beside)
        svg = ElementTree.fromstring(plots.inline_svg(figure, "f", ""))
        assert "narrow" in svg.get("class").split()
        width = float(svg.get("viewBox").split()[2])
        assert 8 * 350 / width >= 12
        figure.canvas.draw()
        (axes,) = figure.axes
        for text in [*axes.texts, *axes.get_yticklabels(), axes.xaxis.label]:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.width, text.get_text()
    svg = ElementTree.fromstring(plots.inline_svg(FIGURES["confusion"](), "c", ""))
    assert svg.get("class") == "plot"


def test_what_equals_the_first_version_has_its_colour():
    panels = [plots.ByVersion("floor", [195.4, 144.7, 195.4]), plots.ByVersion("mm", [0, 0, 36])]
    floor, moved = plots.versions_figure(["1", "2", "3"], panels).axes
    heights = [[bar.get_height() for bar in axes.patches] for axes in (floor, moved)]
    assert heights == [[195.4, 144.7, 195.4], [0, 0, 36]]
    first, second, third = (bar.get_facecolor() for bar in floor.patches)
    assert first == third != second
    assert moved.patches[0].get_facecolor() == first
    with pytest.raises(ValueError, match="shorter"):
        plots.versions_figure(["1", "2"], [plots.ByVersion("floor", [195.4])])


def test_gaps_have_a_point_for_each_source_and_row():
    (axes,) = plots.gaps_figure(["x", "y"], {"a": [1, -20], "b": [0, -15]}, [(-3, 2), (-1, 0)]).axes
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in points] == [[1, -20], [0, -15]]
    bars = [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 7]
    assert bars == [[-3, 2], [-1, 0]]


HOSTILE = (
    r"$\frac{a}{$ _b",
    "$x$ and $y$",
    "5 $ a piece",
    r"\$x\$",
    r"\\$x$",
    "_begins with a line",
    "a\x00b\x1b[2Jc",
    "half a letter \ud800",
    "<b>&amp;</svg>",
    "x" * 300,
    "",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_are_drawn_letter_by_letter(text, log, lines):
    """No text is read as mathematics, hidden, or written as what no SVG may hold."""
    rows = [plots.Row(text, rate(1, 2)), plots.Row("b", None)]
    figures = [
        plots.forest_figure(rows),
        plots.forest_figure(rows, beside=True),
        plots.confusion_figure({text: {text: 1}}, [text]),
        plots.histogram_figure([plots.Values(text, [1, None], [2])], text),
        plots.episode_figure(log, log_of(lines[:6]), title=text, labels=(text, "other")),
        plots.training_figure([{"step": 1, "success": 0.5}], title=text),
    ]
    shown = decoding.printable(text)
    for number, figure in enumerate(figures):
        svg = ElementTree.fromstring(plots.inline_svg(figure, f"f{number}", text))
        texts = [element.text or "" for element in svg.iter("text")]
        if " " not in shown:
            assert not shown or shown in texts, number
        assert "".join(shown.split()) in "".join("".join(texts).split()), number
    assert svg.get("aria-label") == shown


def test_equal_labels_and_only_one_label_stand_in_the_legend(log, lines):
    for labels in (("a", "a"), ("a", ""), ("_a", "")):
        figure = plots.episode_figure(log, log_of(lines[:6]), labels=labels)
        assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == list(labels)
    figure = plots.episode_figure(log, labels=("alone", ""))
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["alone"]


@pytest.mark.parametrize("greatest", [0, 0.3, 4000, 2**31, 1e9])
def test_a_histogram_has_few_bins_however_far_it_reaches(greatest):
    figure = plots.histogram_figure([plots.Values("x", [0, greatest], [1])], "steps")
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 3
    low, high = figure.axes[0].get_xlim()
    assert high - low < 45 * figure.axes[0].patches[0].get_width() / 0.92
