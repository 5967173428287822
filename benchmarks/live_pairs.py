"""Does `mini` do in the page what it does in Python? The same starts, paired, and both verdicts.

    python benchmarks/live_pairs.py --out results/live_pairs.json      (3 seconds)
    python benchmarks/live_pairs.py --logs LOGS --out results/live_pairs.json

The page's episodes stand in `results/live_*.json`, which `live_browser.mjs` writes; Python's are
sweeps of this repository. No episode runs here. `--logs` names the folder that `live_browser.mjs
--logs` filled: Python then also judges the page's own logs, and their hashes are noted. Without it,
what the result file has of that is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vla_tutorial.decoding import decode, read_bytes
from vla_tutorial.diagnose import RULES_VERSION, diagnose_folder
from vla_tutorial.episodes import Episode, EpisodeKey, Sweep, read_sweep
from vla_tutorial.files import write_atomically
from vla_tutorial.stats import paired, rate

ROOT = Path(__file__).parents[1]
AGAIN = "Run benchmarks/live_browser.mjs again."
FAULTS = ("no_flip", "wrong_prompt", "wrong_unnorm_key")

PAIRS = (
    ("results/live_browser.json", ("published",), "results/sweeps/cpu_rendering", True),
    ("results/live_official_mujoco.json", ("published",), "results/sweeps/cpu_rendering", False),
    ("results/live_faults.json", FAULTS, "results/sweeps/conditions", True),
)
"""The page's file, its conditions, Python's sweep with the same starts, and whether LOGS has logs."""


class Row(msgspec.Struct):
    """One episode in the page; of a result file, what is compared."""

    condition: str
    task: int
    init: int
    success: bool
    steps: int
    verdict: str | None = None  # of the page; None in rows that were written before it was kept

    @property
    def key(self) -> EpisodeKey:
        """Which episode it is."""
        return EpisodeKey(self.condition, self.task, self.init)


class PageRun(msgspec.Struct):
    """A result file of `live_browser.mjs`."""

    episodes: list[Row]


@dataclass(frozen=True)
class Pair:
    """An episode in the page, and the one from the same start in Python."""

    page: Row
    python: Episode


def pairs_of(run: PageRun, condition: str, sweep: Sweep) -> list[Pair]:
    """The starts under `condition` that both have."""
    there = {e.key: e for e in sweep.episodes if e.success is not None}
    rows = [row for row in run.episodes if row.condition == condition]
    return [Pair(row, there[row.key]) for row in rows if row.key in there]


def comparison(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Success paired (a is Python, b the page), and by how many steps lengths differ."""
    python = {(p.page.task, p.page.init): bool(p.python.success) for p in pairs}
    page = {(p.page.task, p.page.init): p.page.success for p in pairs}
    found = paired(python, page)
    apart = sorted(abs(p.page.steps - (p.python.steps or 0)) for p in pairs)
    return {
        "pairs": found.pairs,
        "python": found.rate_a.successes,
        "page": found.rate_b.successes,
        "page_interval": [round(x, 4) for x in found.rate_b.interval],
        "only_python": found.only_a,
        "only_page": found.only_b,
        "difference_interval": [round(x, 4) for x in found.interval],
        "mcnemar_p": found.p_value,
        "steps_differ": {
            "median": apart[len(apart) // 2],
            "most": apart[-1],
            "equal": apart.count(0),
        },
    }


def agreement(alike: Sequence[bool]) -> dict[str, Any]:
    """How many are alike, with Wilson's interval."""
    found = rate(sum(alike), len(alike))
    interval = [round(x, 4) for x in found.interval]
    return {"alike": found.successes, "of": found.episodes, "interval": interval}


def python_verdicts(sweep: Path) -> dict[str, str]:
    """Folder of an episode → the verdict that `diagnosis.py` kept, by the rules of today."""
    path = sweep / "verdicts.jsonl.xz"
    if not path.is_file():
        return {}
    lines = [json.loads(line) for line in lzma.decompress(path.read_bytes()).splitlines()]
    return {line["folder"]: line["verdict"] for line in lines if line["rules"] == RULES_VERSION}


def own_logs(pairs: Sequence[Pair], logs: Path) -> dict[str, list[str]]:
    """Folder → verdicts of page and Python on the page's own log, and its hash."""
    found = {}
    for pair in pairs:
        name = pair.page.key.folder
        file = logs / name / "steps.jsonl"
        if file.is_file():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            verdict = diagnose_folder(logs / name).verdict
            found[name] = [str(pair.page.verdict), verdict, digest]
    return found


def judged(pairs: Sequence[Pair], verdicts: Mapping[str, str]) -> dict[str, Any]:
    """The page's verdicts beside those on Python's run of the same start."""
    both = [p for p in pairs if p.page.verdict and p.python.folder in verdicts]
    if not both:
        return {}
    unlike = [p.page.key.folder for p in both if p.page.verdict != verdicts[str(p.python.folder)]]
    alike = [p.page.verdict == verdicts[str(p.python.folder)] for p in both]
    return {"verdicts": agreement(alike) | {"unlike": unlike}}


def compared(
    file: Path, conditions: Sequence[str], sweep: Sweep
) -> tuple[dict[str, Any], list[Pair]]:
    """The entry of one result file, and all its pairs."""
    run = decode(read_bytes(file, AGAIN), PageRun, str(file), AGAIN)
    verdicts = python_verdicts(sweep.folder)
    entry: dict[str, Any] = {
        "page": str(file.relative_to(ROOT)),
        "python": str(sweep.folder.relative_to(ROOT)),
        "python_device": sweep.config["policy"]["device"],
        "python_weights": sweep.config["policy"]["weights"],
        "python_mujoco": sweep.config["versions"]["mujoco"],
    }
    everything: list[Pair] = []
    for condition in conditions:
        pairs = pairs_of(run, condition, sweep)
        if pairs:
            entry[condition] = comparison(pairs) | judged(pairs, verdicts)
        everything += pairs
    return entry, everything


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logs", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "results/live_pairs.json")
    args = parser.parse_args()
    before = json.loads(args.out.read_text()) if args.out.is_file() else {}
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]).replace(str(args.logs), "LOGS"),
        "about": "The same starts in the page and in Python: who succeeds (exact McNemar), how far "
        "lengths differ, and whether diagnose says the same.",
        "comparisons": [],
        "own_logs": before.get("own_logs", {}),
    }
    for name, conditions, folder, logged in PAIRS:
        if not (ROOT / name).is_file():
            continue
        entry, pairs = compared(ROOT / name, conditions, read_sweep(ROOT / folder))
        result["comparisons"].append(entry)
        if args.logs and logged:
            result["own_logs"] |= own_logs(pairs, args.logs)
    kept = result["own_logs"]
    if kept:
        result["verdicts_on_own_logs"] = agreement([row[0] == row[1] for row in kept.values()])
        result["own_logs"] = {name: kept[name] for name in sorted(kept)}
    text = json.dumps(result, indent=1) + "\n"
    print(text, end="")
    write_atomically(args.out, text)


if __name__ == "__main__":
    main()
