"""`curves.jsonl`: read whole, cut and damaged."""

import json

import pytest
from typer.testing import CliRunner

from vla_tutorial.cli.app import app
from vla_tutorial.errors import TutorialError
from vla_tutorial.plots import read_curves, training_figure

LINES = [{"step": k, "cross_entropy": 2.5, "success": None} for k in (100, 200)]


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "curves.jsonl"
    found.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return found


def test_lines_are_read_as_they_were_written(path):
    assert read_curves(path) == LINES


@pytest.mark.parametrize("rest", ["{", '{"step": 300, "cross', "\0\0"])
def test_a_last_line_that_is_not_at_its_end_is_left_out(path, rest):
    with path.open("a") as file:
        file.write(rest)
    assert read_curves(path) == LINES


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "line 3 is not JSON"),
        ("[1]", "line 3 is not as expected"),
        ("{}", "line 3 lacks step"),
        ('{"step": null}', "line 3 holds step None"),
        ('{"step": -1}', "line 3 holds step -1"),
        ('{"step": 1, "success": "all"}', "line 3 holds"),
        ('{"step": 1, "success": NaN}', "line 3 holds"),
        ('{"step": 1, "success": 1e300}', "line 3 holds"),
    ],
)
def test_a_damaged_line_is_named(path, line, named):
    with path.open("a") as file:
        file.write(line + "\n")
    shown = CliRunner().invoke(app, ["train", "curves", str(path), "--out", str(path) + ".png"])
    assert isinstance(shown.exception, (TutorialError, SystemExit))
    with pytest.raises(TutorialError, match=rf"curves\.jsonl, {named}"):
        read_curves(path)


def test_nothing_to_draw(tmp_path):
    with pytest.raises(TutorialError, match="cannot be read"):
        read_curves(tmp_path / "curves.jsonl")
    (tmp_path / "curves.jsonl").write_text("")
    with pytest.raises(TutorialError, match="is empty"):
        read_curves(tmp_path / "curves.jsonl")
    with pytest.raises(TutorialError, match="No line has a value of cross_entropy"):
        training_figure([{"step": 1.0}])
