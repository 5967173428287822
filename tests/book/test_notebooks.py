"""The notebooks as files; with VLA_TEST_NOTEBOOKS=1 they are also run (minutes; `make test-book` does the same through nbmake)."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


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

    def test_it_begins_with_title_check_and_parameters(self, path):
        title, check, parameters = read(path).cells[:3]
        assert title.cell_type == "markdown" and title.source.startswith("# ")
        assert "import vla_tutorial" in check.source and tags(check) == ["hide-input"]
        assert tags(parameters) == ["parameters"]
        given = {}
        exec(parameters.source, given)
        assert given["POLICY"] == "mini"
        assert given["CHECKPOINT"] == "openvla/openvla-7b-finetuned-libero-object"

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

    def test_paragraphs_are_as_short_as_promised(self, path):
        for cell in read(path).cells:
            for paragraph in (
                re.split(r"\n\n|\n(?=\d\. )", cell.source) if cell.cell_type == "markdown" else ()
            ):
                assert len(paragraph.split()) < 130, paragraph


@pytest.mark.parametrize(
    ("missing", "named"),
    [("vla_tutorial", "vla_tutorial"), ("torch", "torch"), ("mujoco", "mujoco")],
)
def test_a_kernel_without_the_package_is_told_in_one_line(missing, named, monkeypatch, capsys):
    if missing == "vla_tutorial":
        for name in [n for n in sys.modules if n.split(".")[0] == missing]:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setitem(
        sys.modules, "vla_tutorial.loop", None
    ) if missing != "vla_tutorial" else None
    shell = InteractiveShell.instance()
    outcome = shell.run_cell(code(NOTEBOOKS[0])[0].source)
    said = capsys.readouterr().out.strip()
    assert outcome.error_in_exec is not None
    assert len(said.splitlines()) == 1
    assert sys.executable in said and "Change Kernel" in said
    assert named in said or "vla_tutorial.loop" in said


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
