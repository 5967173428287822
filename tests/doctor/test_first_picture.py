"""The script of the page on published numbers saves the picture that `doctor --picture` knows."""

import subprocess
import sys
from pathlib import Path

from vla_tutorial.doctor import check_picture

SCRIPT = Path(__file__).parents[2] / "book" / "first_picture.py"


def test_the_script_saves_the_picture_that_is_judged(tmp_path):
    # LIBERO asks once where its files are to lie; Enter takes its own answer.
    subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, input=b"n\n", timeout=300, check=True)
    found = check_picture(tmp_path / "my_agentview.png")
    assert (found.verdict, found.remedy) == ("ok", "")
