"""`vla-tutorial accept` from the first action to page and pack, resumed, and every way to go wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vla_tutorial.accept.folder import Acting, RunFolder
from vla_tutorial.accept.pack import read_pack
from vla_tutorial.accept.run import AcceptRun
from vla_tutorial.accept.settle import CLAIMS
from vla_tutorial.accept.stages import queue
from vla_tutorial.errors import TutorialError


def test_a_run_ends_with_every_claim_a_page_and_a_pack_and_resumes(
    accept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after its first round, it goes on where it was and measures nothing again."""
    out = tmp_path / "run"
    fits = AcceptRun.fits
    monkeypatch.setattr(AcceptRun, "fits", lambda self, one: one.name == "published_0")
    first = accept("--out", out, "--budget", "2h")
    assert first.exit_code == 0, first.output
    assert re.search(
        r"Plan at .* control steps a second, 2 simulators: done .* from now", first.output
    )
    assert "A larger --budget with the same --out goes on" in first.output
    pack = read_pack(out / "pack.json")
    assert len(pack.episodes) == 2 and set(pack.claims) == set(CLAIMS)
    assert "2 of 2" in pack.claims["success-rate"].text
    assert pack.claims["long-rate"].verdict == "open"
    assert set(pack.checks) == {"pace", "engine", "weights", "drafts"}
    assert pack.checks["engine"]["different"] == 0 and pack.checks["engine"]["pictures"] == 20
    assert pack.checks["weights"]["int8"]["pictures"] == 20
    assert pack.ran[0].checkpoint == "other" and pack.ran[0].suites == [
        "libero_object",
        "libero_10",
    ]

    monkeypatch.setattr(AcceptRun, "fits", fits)
    monkeypatch.setattr(AcceptRun, "_check", None)
    second = accept("--out", out, "--budget", "2h")
    assert second.exit_code == 0, second.output
    again = read_pack(out / "pack.json")
    rounds = queue(["libero_object", "libero_10"], (0, 5))[:3]
    assert len(again.episodes) == sum(one.episodes for one in rounds)
    assert again.episodes[:2] == pack.episodes
    assert again.hours > pack.hours
    assert "Without the flip the checkpoint succeeds in" in again.claims["no-flip"].text
    third = accept("--out", out, "--budget", "2h")
    assert "Every round has run" in third.output
    _check_page(out)


def _check_page(out: Path) -> None:
    page = (out / "index.html").read_text()
    assert "none of the published ones" in page and "What is open" in page
    for claim in CLAIMS.values():
        assert claim.title in page
    assert "engine against eager" in page and "int4 weights against full ones" in page
    assert (out / "report.html").is_file() and "no_flip" in (out / "report.html").read_text()
    assert (out / "pack.json").stat().st_size < 5e6
    text = (out / "pack.json").read_text()
    assert str(out) not in text and "/tmp" not in text


def test_a_budget_that_is_too_small_says_what_it_would_settle(accept: Any, tmp_path: Path) -> None:
    found = accept("--out", tmp_path / "run", "--budget", "1s", "--no-compare-weights")
    assert found.exit_code == 2
    said = " ".join(found.output.split())
    assert "A budget of 1 s settles no claim" in said
    assert "would say whether the checkpoint works at all. Give --budget" in said
    minutes = re.search(r"Give --budget (\d+)m", said)
    assert minutes and int(minutes[1]) >= 1
    # What was measured is kept.
    assert RunFolder(tmp_path / "run").state.checks


@pytest.mark.parametrize("budget", ["", "30", "half an hour", "0s", "-5m", "1000h", "1e3h"])
def test_a_budget_that_is_no_time(accept: Any, tmp_path: Path, budget: str) -> None:
    found = accept("--out", tmp_path / "run", f"--budget={budget}")
    assert found.exit_code == 2 and "30m, 2h or 8h" in found.output


def test_a_folder_of_another_run_is_refused(
    accept: Any, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    accept("--out", out, "--budget", "1s", "--no-compare-weights")
    other = accept("--out", out, "--budget", "1s", "--weights", "int8")
    assert other.exit_code == 2 and "another checkpoint or weights" in " ".join(
        other.output.split()
    )
    more = accept("--out", out, "--budget", "1s", "--workers", "1")
    assert "another --workers" in " ".join(more.output.split())
    state = json.loads((out / "accept.json").read_text())
    (out / "accept.json").write_text(json.dumps(state | {"format": 2}))
    found = accept("--out", out, "--budget", "1s")
    assert found.exit_code == 2 and "has format 2" in " ".join(found.output.split())


def test_a_checkpoint_for_long_tasks_may_be_named_later(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    given = {"policy": "mini", "checkpoint": None, "weights": "w", "held": "bf16", "dtype": "x"}
    folder.agree(Acting(**given, suites=["libero_object"]), 2)
    state = folder.agree(Acting(**given, suites=["libero_object", "libero_10"]), 2)
    assert set(state.acting) == {"libero_object", "libero_10"}
    with pytest.raises(TutorialError, match="another checkpoint or weights"):
        folder.agree(Acting(**given | {"weights": "v"}, suites=["libero_object"]), 2)


def test_a_folder_with_something_else_is_refused(accept: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    found = accept("--out", tmp_path, "--budget", "1s")
    assert found.exit_code == 2 and "holds no acceptance run" in " ".join(found.output.split())


def test_a_checkpoint_of_another_suite_is_refused(
    accept: Any, tmp_path: Path, checkpoint: Path
) -> None:
    path = checkpoint / "dataset_statistics.json"
    before = path.read_text()
    own = next(iter(json.loads(before).values()))
    path.write_text(json.dumps({"bridge_orig": own}))
    try:
        found = accept("--out", tmp_path / "run", "--budget", "1s")
    finally:
        path.write_text(before)
    assert found.exit_code == 2 and "was trained on bridge_orig" in " ".join(found.output.split())
