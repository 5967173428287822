"""What processes that simulate inherit."""

import os
import subprocess
import sys

from vla_tutorial.sim import one_thread

ASK = "import os; print(os.environ.get('OMP_NUM_THREADS'), os.environ.get('MKL_NUM_THREADS'))"


def inherited() -> str:
    return subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True).stdout


def test_processes_of_the_block_have_one_thread_unless_the_user_said_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    with one_thread():
        assert inherited().split() == ["1", "3"]
    assert "OMP_NUM_THREADS" not in os.environ
    assert inherited().split() == ["None", "3"]
