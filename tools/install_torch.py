"""Install PyTorch without CUDA where no NVIDIA GPU could use it. `make demo` runs this first.

    python tools/install_torch.py https://download.pytorch.org/whl/cpu constraints.txt

On Linux, PyPI's torch brings gigabytes of CUDA libraries with it. PyTorch's own index has wheels
without them. This script asks that index once, for five seconds at most. It takes torch from there
if it answers, and otherwise leaves torch to the installation that follows, which takes it from
PyPI. It never fails, and it says what it decided. It needs nothing but Python and pip.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import platform
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/version")
"""The NVIDIA driver makes this file when it is loaded."""

WSL_TOOL = Path("/usr/lib/wsl/lib/nvidia-smi")
"""Where WSL 2 keeps Windows' nvidia-smi; not every shell has that folder on its PATH."""

SECONDS = 5.0


def has_nvidia_gpu() -> bool:
    """Whether this computer has an NVIDIA driver."""
    return DRIVER.exists() or WSL_TOOL.exists() or shutil.which("nvidia-smi") is not None


def pypi_brings_cuda() -> bool:
    """Whether PyPI's torch for this computer brings CUDA: Linux on an Intel or AMD processor."""
    return platform.system() == "Linux" and platform.machine() in ("x86_64", "AMD64")


def answers(index: str, seconds: float = SECONDS) -> bool:
    """Whether `index` has a page for torch. Asks once and waits for `seconds` at most."""
    found = threading.Event()

    def ask() -> None:
        with (
            contextlib.suppress(OSError, ValueError, http.client.HTTPException),
            urllib.request.urlopen(f"{index.rstrip('/')}/torch/", timeout=seconds) as page,
        ):
            if page.status == 200:
                found.set()

    # In a thread, because urlopen's timeout does not limit how long the look-up of a name takes.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return found.is_set()


def reason_for_pypi(index: str) -> str | None:
    """Why torch should come from PyPI, in a sentence; None if it should come from `index`."""
    if not index:
        return "TORCH_INDEX is empty"
    if not pypi_brings_cuda():
        return f"PyPI's wheel for {platform.system()} on {platform.machine()} is the usual one"
    if has_nvidia_gpu():
        return "this computer has an NVIDIA GPU"
    if not answers(index):
        return f"{index} does not answer"
    return None


def install(index: str, constraints: Path) -> bool:
    """Install torch alone, in the pinned version, from `index`. Whether that worked."""
    # fmt: off
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet",
        "--no-deps", "--retries", "0", "--index-url", index, "--constraint", str(constraints),
        "torch",
    ]
    # fmt: on
    return subprocess.run(command, check=False).returncode == 0


def main(arguments: list[str] | None = None) -> None:
    """Decide, install where decided so, and say both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index", help="PyTorch's index without CUDA; empty: take PyPI's torch")
    parser.add_argument("constraints", type=Path, help="file with the pinned version of torch")
    asked = parser.parse_args(arguments)
    reason = reason_for_pypi(asked.index)
    if reason is None:
        print(f"No NVIDIA GPU here: taking torch without CUDA from {asked.index}", flush=True)
        if not install(asked.index, asked.constraints):
            reason = f"{asked.index} did not give the pinned version"
    if reason is not None:
        print(f"Taking torch from where pip looks by itself: {reason}.", flush=True)


if __name__ == "__main__":
    main()
