"""The recorded data: an installed package has them, the repository holds them once, and no notebook writes into either."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from vla_tutorial import recorded

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

READ = """
import os
from pathlib import Path
from vla_tutorial import recorded
from vla_tutorial.episodes import read_sweep
from vla_tutorial.lab import Workbook
from vla_tutorial.lab.teacher.pages import worksheet_html
from vla_tutorial.player import Player

package = Path(os.environ["PACKAGE"])
assert Path(recorded.__file__).is_relative_to(package), recorded.__file__
for folder in (recorded.RESULTS, recorded.SWEEPS, recorded.CLIPS):
    assert folder.is_relative_to(package), folder
print(len(read_sweep(recorded.SWEEPS / "published_16_workers").episodes), "episodes")
print(len(Workbook("ada", Path("out")).clip("A").shown.series["gripper"]), "steps")
assert "Worksheet" in worksheet_html()
print(repr(Player(right=("no_flip",))))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What a wheel holds, built from this checkout: a folder for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("installed")
    build = "from setuptools import setup; setup()"
    options = ["egg_info", "--egg-base", folder, "build_py", "--build-lib", folder / "lib"]
    subprocess.run([sys.executable, "-c", build, "-q", *options], cwd=ROOT, check=True)
    return folder / "lib"


def test_an_installed_package_reads_its_own_copies(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed), "PACKAGE": str(installed)}
    command = [sys.executable, "-c", READ]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "500 episodes\n280 steps\nPlayer of 51 clips" in done.stdout
    assert list(tmp_path.iterdir()) == [], "reading writes nothing"


@pytest.mark.parametrize(
    ("name", "source"), [("results", recorded.RESULTS), ("clips", recorded.CLIPS)]
)
def test_every_file_is_copied(installed, name, source):
    def files(folder):
        return {p.relative_to(folder): p.stat().st_size for p in folder.rglob("*") if p.is_file()}

    assert files(installed / "vla_tutorial" / "data" / name) == files(source)


def test_the_checkout_is_read_in_place_and_holds_the_data_once():
    assert ROOT / "results" == recorded.RESULTS
    assert ROOT / "book" / "clips" == recorded.CLIPS
    for name in ("results", "clips"):
        assert not (ROOT / "vla_tutorial" / "data" / name).exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_writes_beside_itself_and_reads_what_ships(path):
    cells = nbformat.read(path, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert "__file__" not in source, "a path inside the package or the checkout"
    for written in re.findall(r"^OUT = (.+)$", source, re.M):
        assert written == f'Path.cwd() / "out" / "{path.stem}"'
    assert not re.search(r"\.\./|/tmp|Path\.home", source)
