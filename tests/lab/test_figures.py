"""Figures of the notebooks: what is displayed carries its words, and the site's build insists on them."""

import base64
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib import pyplot
from PIL import Image

from vla_tutorial.lab import figures
from vla_tutorial.plots import Row
from vla_tutorial.stats import rate

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_ext"))


@pytest.fixture
def displayed(monkeypatch):
    """What `display` was given: (data by MIME type, metadata by MIME type) of each picture."""
    found = []
    show = lambda picture: found.append(DisplayFormatter().format(picture))  # noqa: E731
    monkeypatch.setattr(figures, "display", show)
    return found


def test_a_figure_is_displayed_once_and_with_its_words(displayed):
    figure = pyplot.figure()
    figures.show(figure, "Two curves that cross.")
    ((data, metadata),) = displayed
    shown = metadata["image/png"]
    assert shown["alt"] == "Two curves that cross."
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert abs(picture.width - 2 * shown["width"]) <= 1, "two dots to a pixel"
    assert figure.number not in pyplot.get_fignums(), "else the notebook draws it again"


@pytest.mark.parametrize("shown", ["curves", "camera"])
def test_in_the_dark_drawings_are_turned_and_camera_pictures_are_not(displayed, shown):
    pytest.importorskip("myst_nb")
    import vla_book

    figure, axes = pyplot.subplots(1, 2)
    for axis in axes:
        if shown == "camera":
            axis.imshow(np.full((224, 224, 3), 140, np.uint8))
            axis.set(xticks=[], yticks=[])
        else:
            axis.plot([0, 1], [0, 1])
    figures.show(figure, "Two of them.")
    ((data, _),) = displayed
    found = SimpleNamespace(mime_type="image/png", content=data["image/png"])
    assert vla_book._on_white(found) == (shown == "curves")


def test_rates_in_words():
    rows = [Row("published", rate(200, 200)), Row("no_flip", rate(0, 200)), Row("later", None)]
    said = "published 200 of 200; no_flip 0 of 200; later no episode ended"
    assert figures.rates_in_words(rows) == said


def test_the_build_keeps_an_output_s_words_and_refuses_a_picture_without(monkeypatch):
    render = pytest.importorskip("myst_nb.core.render")
    errors = pytest.importorskip("sphinx.errors")
    import vla_book

    nodes = [{}]
    monkeypatch.setattr(render.NbElementRenderer, "render_image", lambda self, data: nodes)
    vla_book.keep_alternative_texts()
    output = SimpleNamespace(
        mime_type="image/webp",
        output_metadata={"image/webp": {"alt": "A can."}},
        cell_index=3,
        content="",
    )
    assert render.NbElementRenderer.render_image(None, output) == [{"alt": "A can."}]
    output.output_metadata = {}
    with pytest.raises(errors.ExtensionError, match=r"cell 3 has no alternative text"):
        render.NbElementRenderer.render_image(None, output)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("95 % interval 98.1–100 %", "95_% interval 98.1–|100_%"),
        ("within ± 2 % of 2–5 mm", "within ±_2_% of 2–|5 mm"),
        ("−3–−1 points – no more", "−3–|−1 points – no more"),
        ("a % sign, 20 a second", "a % sign, 20 a second"),
    ],
)
def test_no_line_break_tears_figures(text, held):
    pytest.importorskip("myst_nb")
    import vla_book

    shown = vla_book.held_together(text).replace("\N{WORD JOINER}", "|")
    assert shown.replace("\N{NO-BREAK SPACE}", "_") == held


def test_code_is_left_as_it_is_for_readers_copy_it():
    pytest.importorskip("myst_nb")
    import vla_book
    from docutils import nodes, utils

    page = utils.new_document("page")
    page += nodes.paragraph("", "", nodes.Text("50 % of "), nodes.literal("", "50 %"))
    page += nodes.literal_block("", "1–2 %")
    vla_book.HeldTogether(page).run()
    assert page.astext() == "50\N{NO-BREAK SPACE}% of 50 %\n\n1–2 %"
