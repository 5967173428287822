"""The notebooks as files; with VLA_TEST_NOTEBOOKS=1 they are also run (minutes; `make test-book` does the same through nbmake)."""

import os
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def source(path):
    return "\n".join(cell.source for cell in code(path))


def tags(cell):
    return cell.metadata.get("tags", [])


def test_every_pass_of_the_section_and_the_lab_are_there():
    wanted = [
        "01_success",
        "02_silent_failures",
        "03_when_the_script_is_right",
        "04_measure",
        "lab_classroom",
    ]
    assert [path.stem for path in NOTEBOOKS] == wanted


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestEach:
    def test_it_is_valid_and_stripped(self, path):
        notebook = read(path)
        nbformat.validate(notebook)
        assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
        assert notebook.metadata.kernelspec.name == "python3"
        for cell in code(path):
            assert cell.outputs == [] and cell.execution_count is None, cell.id

    def test_it_begins_with_title_and_says_what_to_do_when_an_import_fails(self, path):
        title = read(path).cells[0]
        assert title.cell_type == "markdown" and title.source.startswith("# ")
        assert "vla-tutorial doctor" in title.source

    def test_its_parameters_are_read(self, path):
        found = [cell.source for cell in code(path) if "parameters" in tags(cell)]
        rest = "".join(cell.source for cell in code(path) if "parameters" not in tags(cell))
        for source in found:
            given = {}
            exec(source, {}, given)
            assert given["POLICY"] == "mini"
            assert given["CHECKPOINT"] == "openvla/openvla-7b-finetuned-libero-object"
            assert all(name in rest for name in given)
        assert found or "load_policy" not in rest

    def test_it_imports_from_faces(self, path):
        assert re.findall(r"^from vla_tutorial\.\w+\.\w+ import", source(path), re.M) == []

    def test_links_lead_to_files(self, path):
        for cell in read(path).cells:
            for link in LINK.findall(cell.source) if cell.cell_type == "markdown" else ():
                if "://" not in link and not link.startswith("#"):
                    assert (FOLDER / link.split("#")[0]).is_file(), link

    def test_code_compiles_and_uses_no_widgets_that_stall_a_build(self, path):
        for cell in code(path):
            compile(cell.source, f"{path.stem}:{cell.id}", "exec")
            assert not re.search(r"\b(interact|interactive_output|Output)\(", cell.source)

    def test_the_form_is_only_for_jupyterlab(self, path):
        for cell in code(path):
            assert ("lab(OUT" in cell.source) == ("skip-execution" in tags(cell))

    def test_nothing_follows_what_is_folded_on_its_line(self, path):
        """Markdown behind an HTML tag stays as it is typed."""
        for cell in read(path).cells:
            if cell.cell_type == "markdown":
                assert not re.search(r"</(details|summary|div)>[ \t]*[^\s<]", cell.source), cell.id
                assert not re.search(r"</details>\n[^\n]", cell.source), cell.id

    def test_every_figure_is_shown_with_words(self, path):
        for cell in code(path):
            draws = re.search(r"plt\.subplots|_figure\(|\bImage\(", cell.source)
            shows = re.search(r"\bshow\((.|\n)+\)|\balt=", cell.source)
            assert bool(draws) == bool(shows) or "def forest" in cell.source, cell.id
            assert not re.search(r"\bdisplay\(|plt\.show", cell.source), cell.id

    def test_paragraphs_are_as_short_as_promised(self, path):
        for cell in read(path).cells:
            for paragraph in (
                re.split(r"\n\n|\n(?=\d\. )", cell.source) if cell.cell_type == "markdown" else ()
            ):
                assert len(paragraph.split()) < 130, paragraph


def test_every_task_of_the_lab_ends_with_a_check():
    """Its first cell says so. Tasks have the headings "## 1 · …", and some have parts a, b, c."""
    parts = []
    for cell in read(FOLDER / "lab_classroom.ipynb").cells:
        if cell.cell_type == "markdown":
            for begin in re.findall(r"^## \d · .*|^\*\*[a-c]\.\*\*", cell.source, re.M):
                if begin.startswith("**a.") or (begin.startswith("##") and parts == []):
                    parts[-1:] = [[begin, False]]
                else:
                    parts.append([begin, False])
        elif "work.check(" in cell.source:
            parts[-1][1] = True
    assert len(parts) == 11
    assert [begin for begin, checked in parts if not checked] == []


@pytest.mark.skipif(
    "VLA_TEST_NOTEBOOKS" not in os.environ, reason="minutes; set VLA_TEST_NOTEBOOKS=1"
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs_from_top_to_bottom(path):
    from nbclient import NotebookClient

    notebook = read(path)
    client = NotebookClient(
        notebook,
        timeout=900,
        resources={"metadata": {"path": str(FOLDER)}},
        skip_cells_with_tag="skip-execution",
    )
    client.execute()
    size = sum(len(str(output)) for cell in notebook.cells for output in cell.get("outputs", []))
    assert size < 1_500_000
