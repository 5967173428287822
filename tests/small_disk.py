"""A small disk for tests: a tmpfs, where the machine lets us mount one."""

import contextlib
import subprocess

import pytest


def _run(*words):
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@contextlib.contextmanager
def small_disk(folder, kib):
    """Mount `kib` KiB at `folder`, and remove it afterwards; the test is skipped where that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _run("mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)):
        pytest.skip("no right to mount a tmpfs")
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def resize(folder, kib):
    """Give the disk another size; what is on it stays."""
    assert _run("mount", "-o", f"remount,size={kib}k", str(folder))
