"""One call from a plan to a folder of results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vla_tutorial.sweep.journal import Journal, sweep_config
from vla_tutorial.sweep.messages import Engine
from vla_tutorial.sweep.plan import SweepPlan
from vla_tutorial.sweep.scheduler import Scheduler, SweepProgress, Timeouts


def run_sweep(
    plan: SweepPlan,
    out: Path,
    engine: Engine,
    workers: int,
    *,
    weights: str = "",
    command: str = "",
    timeouts: Timeouts | None = None,
    retry_errors: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    watch: Callable[[SweepProgress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> SweepProgress:
    """Run what is left of a sweep in `out`, and close the engine.

    Args:
        workers: simulators at a time.
        weights: hash of the policy's checkpoint (`provenance.weights_hash`).
        command: the command that runs the sweep, for `sweep.json`.
        timeouts: after which silent workers are replaced.
        retry_errors: run errors again that the same call would not (`Journal.is_left`).
        stopping: once it is true, what is in flight ends and nothing more begins.
        watch: called at least twice a second.
        say: called with what the user should know, for example that a line was removed.

    Raises:
        TutorialError: `Journal` and `Scheduler.run` say when. What has ended is kept; the same call
            resumes.
    """
    try:
        with Journal(out, sweep_config(plan, engine, weights, command)) as journal:
            if journal.repaired:
                say(journal.repaired)
            limits = timeouts or Timeouts()
            scheduler = Scheduler(plan, journal, engine, workers, limits, retry_errors)
            if journal.episodes:
                say(_describe_resumed(journal, scheduler.progress))
            scheduler.run(stopping, watch)
            return scheduler.progress
    finally:
        engine.close()


def _describe_resumed(journal: Journal, progress: SweepProgress) -> str:
    """What a folder holds, and what becomes of its errors."""
    held = f"{journal.folder} holds {len(journal.episodes)} of {progress.total} episodes; resuming."
    again = len(journal.episodes) - progress.done
    if again:
        held += f" {again} of them ended in errors and run again."
    if progress.given_up:
        held += f" {progress.given_up} ended in errors too often; --retry-errors runs them again."
    return held
