"""One call from a plan to a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vla_tutorial.record import versions
from vla_tutorial.sweep.crew import PATIENCE, Crew, Patience, Tally
from vla_tutorial.sweep.drive import Drive
from vla_tutorial.sweep.journal import Journal
from vla_tutorial.sweep.plan import Sweep


def configuration(sweep: Sweep, crew: Crew, weights: str, command: str) -> dict[str, Any]:
    """What `sweep.json` says. Everything but command, date, machine and serving must be the same when a sweep goes on.

    Args:
        weights: hash of the policy's checkpoint (`studio.weights_hash`).
    """
    from vla_tutorial.training.results import machine

    device = crew.acting.provenance.get("device", "cpu")
    return {
        **sweep.entry(),
        "policy": {"name": crew.acting.name, **crew.acting.provenance, "weights": weights},
        "serving": crew.serving,
        "command": command,
        "versions": versions(),
        "machine": machine([] if device == "cpu" else [device]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def run(
    sweep: Sweep,
    out: Path,
    crew: Crew,
    workers: int,
    *,
    weights: str = "",
    command: str = "",
    patience: Patience = PATIENCE,
    stopping: Callable[[], bool] = lambda: False,
    watch: Callable[[Tally], None] = lambda tally: None,
    say: Callable[[str], None] = lambda words: None,
) -> Tally:
    """Run what is left of a sweep in `out`, and close the crew.

    Args:
        workers: simulators at a time.
        stopping: once it is true, what is in flight ends and nothing more is begun.
        watch: called at least twice a second.
        say: called with what the user should know: a line that was mended, episodes that are there already.

    Raises:
        TutorialError: `journal.Journal` and `drive.Drive.run` say when. What has ended is kept; the same call goes on.
    """
    try:
        config: Mapping[str, Any] = configuration(sweep, crew, weights, command)
        with Journal(out, config) as journal:
            if journal.repaired:
                say(journal.repaired)
            if journal.entries:
                say(f"{out} holds {len(journal.entries)} of {len(sweep.jobs())} episodes already; going on with the rest.")
            drive = Drive(sweep, journal, crew, workers, patience)
            drive.run(stopping, watch)
            return drive.tally
    finally:
        crew.close()
