"""One call from a plan to a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vla_tutorial.provenance import versions
from vla_tutorial.sweep.engine import DEFAULT_TIMEOUTS, Engine, SweepProgress, Timeouts
from vla_tutorial.sweep.journal import Journal
from vla_tutorial.sweep.plan import Sweep
from vla_tutorial.sweep.scheduler import Scheduler


def configuration(sweep: Sweep, engine: Engine, weights: str, command: str) -> dict[str, Any]:
    """What `sweep.json` says. Everything but command, date, machine and serving must be the same when a sweep goes on.

    Args:
        weights: hash of the policy's checkpoint (`studio.weights_hash`).
    """
    from vla_tutorial.provenance import machine

    device = engine.policy_info.provenance.get("device", "cpu")
    return {
        **sweep.entry(),
        "policy": {
            "name": engine.policy_info.name,
            **engine.policy_info.provenance,
            "weights": weights,
        },
        "serving": engine.serving,
        "command": command,
        "versions": versions(),
        "machine": machine([] if device == "cpu" else [device]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def run(
    sweep: Sweep,
    out: Path,
    engine: Engine,
    workers: int,
    *,
    weights: str = "",
    command: str = "",
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    stopping: Callable[[], bool] = lambda: False,
    watch: Callable[[SweepProgress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda words: None,
) -> SweepProgress:
    """Run what is left of a sweep in `out`, and close the engine.

    Args:
        workers: simulators at a time.
        stopping: once it is true, what is in flight ends and nothing more is begun.
        watch: called at least twice a second.
        say: called with what the user should know: a line that was mended, episodes that are there already.

    Raises:
        TutorialError: `journal.Journal` and `drive.Scheduler.run` say when. What has ended is kept; the same call goes on.
    """
    try:
        config: Mapping[str, Any] = configuration(sweep, engine, weights, command)
        with Journal(out, config) as journal:
            if journal.repaired:
                say(journal.repaired)
            if journal.entries:
                say(
                    f"{out} holds {len(journal.entries)} of {len(sweep.jobs())} episodes already; going on with the rest."
                )
            drive = Scheduler(sweep, journal, engine, workers, timeouts)
            drive.run(stopping, watch)
            return drive.progress
    finally:
        engine.close()
