"""Run the book's notebooks, some at a time, into the cache that the site's outputs come from.

    python book/_ext/run_notebooks.py --jobs 2

A notebook runs again when its code cells change, and all of them when the library, the weights or a result changes. Any error stops the build and
is shown with the cell that raised it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "_build" / ".jupyter_cache"
INPUTS = (
    "vla_tutorial/**/*.py",
    "vla_tutorial/data/*",
    "vla_tutorial/**/*.js",
    "vla_tutorial/**/*.jinja",
    "vla_tutorial/weights/**/*",
    "results/*.json",
    "results/sweeps/*/*",
    "book/clips/manifest.js",
)
QUIET = ["--log-level=40"]
"""The kernel's remark that a local TCP connection is not encrypted helps nobody here."""

TIMEOUT = 600
"""Seconds for one cell; a whole notebook is meant to take four minutes."""


def listed(toc: Any) -> Iterable[str]:
    """Every `file:` of a table of contents."""
    if isinstance(toc, dict):
        yield from ([toc["file"]] if "file" in toc else [])
        for child in toc.values():
            yield from listed(child)
    elif isinstance(toc, list):
        for child in toc:
            yield from listed(child)


def fingerprint() -> str:
    """Changes when anything changes that a notebook's output may depend on."""
    digest = hashlib.sha256()
    for path in sorted(p for pattern in INPUTS for p in ROOT.glob(pattern) if p.is_file()):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def run(path: Path, threads: int) -> tuple[nbformat.NotebookNode, float]:
    """Execute one notebook where it lies."""
    os.environ |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    notebook, started = nbformat.read(path, as_version=4), time.perf_counter()
    kernel = dict(notebook.metadata.kernelspec)
    place = {"metadata": {"path": str(path.parent)}}
    options = {
        "kernel_name": "python3",
        "record_timing": False,
        "store_widget_state": False,
        "extra_arguments": QUIET,
    }
    NotebookClient(notebook, timeout=TIMEOUT, resources=place, **options).execute()
    notebook.metadata.kernelspec = kernel  # as in the file: the cache finds a notebook by it and by its cells' code and metadata
    return notebook, time.perf_counter() - started


def plain(trace: str, lines: int = 25) -> str:
    """The end of a trace-back without its colours."""
    return "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", trace).strip().splitlines()[-lines:])


def prepare() -> Any:
    """The cache, emptied if what its outputs were made with has changed."""
    key, now = CACHE / "fingerprint.txt", fingerprint()
    if CACHE.exists() and (not key.exists() or key.read_text() != now):
        print("The library, a result or the clips changed: every notebook runs again.")
        shutil.rmtree(CACHE)
    cache = get_cache(str(CACHE))
    cache.list_cache_records()
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text(now)
    return cache


def missing(cache: Any, paths: Iterable[Path]) -> list[Path]:
    """The notebooks that the cache has no outputs of."""
    found = []
    for path in paths:
        try:
            cache.match_cache_notebook(nbformat.read(path, as_version=4))
            print(f"{path.stem}: outputs are there already")
        except KeyError:
            found.append(path)
    return found


def main() -> None:
    """Run what has to run; exit code 1 when a notebook fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="notebooks at a time")
    args = parser.parse_args()
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    cache, failed, started = prepare(), [], time.perf_counter()
    todo = missing(
        cache, [ROOT / f"{name}.ipynb" for name in listed(toc) if name.startswith("notebooks/")]
    )
    with ProcessPoolExecutor(args.jobs) as pool:
        threads = max(1, (os.cpu_count() or 1) // args.jobs)
        jobs = {pool.submit(run, path, threads): path for path in todo}
        for job in as_completed(jobs):
            path = jobs[job]
            try:
                notebook, seconds = job.result()
            except (CellExecutionError, CellTimeoutError) as e:
                failed.append(path.stem)
                print(f"{path.stem}: FAILED\n{plain(str(e))}", file=sys.stderr, flush=True)
                continue
            bundle = CacheBundleIn(
                notebook, str(path), data={"execution_seconds": round(seconds, 1)}
            )
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            print(f"{path.stem}: {seconds:.0f} s", flush=True)
    print(
        f"{len(todo)} run in {time.perf_counter() - started:.0f} s"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
