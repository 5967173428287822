"""Build a JupyterLite with Pyodide from what PyPI and npm have, for `jupyterlite.mjs` to measure.

    python3 -m venv lite && lite/bin/pip install jupyterlite-core==0.8.6 jupyterlite-pyodide-kernel==0.8.6 jupyter_server
    lite/bin/python benchmarks/jupyterlite.py OUT                                                  (2 minutes)
    node benchmarks/jupyterlite.mjs --lite OUT/site --out results/jupyterlite.json

`OUT/site/found.json` says which of Pyodide's packages PyPI has as a wheel for a browser.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

PYODIDE = "314.0.6"  # what jupyterlite-pyodide-kernel 0.8.6 asks for
PLATFORM = [
    "--platform",
    "pyemscripten_2026_0_wasm32",
    "--python-version",
    "314",
    "--implementation",
    "cp",
    "--abi",
    "cp314",
]
KERNEL = ["micropip", "ipython", "jedi"]
OURS = ["numpy", "scipy", "matplotlib", "msgspec"]  # notebook 4, pure Python aside
CELL = "import sys, msgspec\nprint('answer', *sys.version_info[:2], msgspec.__version__)"
KERNEL_SETTINGS = {"@jupyterlite/pyodide-kernel-extension:kernel": {"disablePyPIFallback": True}}


def pyodide(folder: Path) -> dict:
    """Unpack Pyodide's npm package into the folder; the packages of its lock file."""
    subprocess.run(
        ["npm", "pack", "--silent", f"pyodide@{PYODIDE}"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    archive = folder / f"pyodide-{PYODIDE}.tgz"
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    archive.unlink()
    for path in list((folder / "package").iterdir()):
        path.rename(folder / path.name)
    return json.loads((folder / "pyodide-lock.json").read_text())


def closure(packages: dict, names: list[str]) -> list[str]:
    """The names, and all that they need."""
    found: list[str] = []
    todo = list(names)
    while todo:
        name = todo.pop().replace("_", "-")
        if name not in found:
            found.append(name)
            todo += packages[name]["depends"]
    return sorted(found)


def wheel(requirement: str, folder: Path) -> Path | None:
    """A wheel from PyPI for Pyodide, or for anything; None where there is none."""
    before = set(folder.glob("*.whl"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        *PLATFORM,
        "-d",
        str(folder),
        requirement,
    ]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        return None
    (new,) = set(folder.glob("*.whl")) - before
    return new


def build(out: Path) -> None:
    static = out / "static" / "pyodide"
    for folder in (static, out / "files", out / "pypi"):
        folder.mkdir(parents=True)
    lock = pyodide(static)
    found, missing = {}, {}
    for name in closure(lock["packages"], [*KERNEL, *OURS]):
        package = lock["packages"][name]
        path = wheel(f"{name}=={package['version']}", static) or wheel(name, static)
        print(name, path and path.name, flush=True)
        if path is None:
            missing[name] = package["version"]
            continue
        found[name] = path.name
        package |= {
            "version": path.name.split("-")[1],
            "file_name": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    (static / "pyodide-lock.json").write_text(json.dumps(lock))
    wheel("comm", out / "pypi")
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": CELL,
    }
    kernel = {"name": "python", "display_name": "Python (Pyodide)", "language": "python"}
    notebook = {
        "cells": [cell],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (out / "files" / "try.ipynb").write_text(json.dumps(notebook))
    config = {
        "jupyter-lite-schema-version": 0,
        "jupyter-config-data": {"litePluginSettings": KERNEL_SETTINGS},
    }
    (out / "jupyter-lite.json").write_text(json.dumps(config))
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lite",
        "build",
        "--contents",
        "files",
        "--output-dir",
        "site",
        "--no-unused-shared-packages",
    ]
    subprocess.run(
        [*command, "--pyodide", str(static.parent.resolve())],
        cwd=out,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    said = {"pyodide": PYODIDE, "found": found, "missing": missing}
    (out / "site" / "found.json").write_text(json.dumps(said))
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="a new folder")
    build(parser.parse_args().out)
