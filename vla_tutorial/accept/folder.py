"""A run's folder: what it is of, what was measured first, the time spent, and a sweep a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from vla_tutorial.accept.budget import Pace
from vla_tutorial.accept.rows import Row, rows_of
from vla_tutorial.accept.stages import Round
from vla_tutorial.decoding import Name, Seconds, decode, is_file, read_bytes
from vla_tutorial.episodes import Episode, Sweep, read_sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import check_writable, write_atomically

RUN_FORMAT = 1
"""Version of the folder."""

AGAIN = "Delete the folder to begin anew, or choose another --out."


class Acting(msgspec.Struct, frozen=True):
    """A checkpoint of the run, as it was asked for, with what its loading showed."""

    policy: Name
    checkpoint: Name | None
    weights: Name
    held: Name
    dtype: Name
    suites: list[Name]


class State(msgspec.Struct):
    """What `accept.json` says.

    Attributes:
        acting: the checkpoints by suite.
        workers: simulators at a time, which decide how batches are made.
        spent: seconds over all calls; those of a call that was killed since its last round are
            not known.
        steps_a_second: over the rounds that have ended; 0 before.
        steps, sweep_seconds: that it was computed from.
    """

    format: int
    acting: dict[Name, Acting]
    workers: int
    gpu: Name = ""
    machine: dict[Name, Any] = {}
    pace: Pace | None = None
    checks: dict[Name, Any] = {}
    spent: Seconds = 0.0
    steps: int = 0
    sweep_seconds: Seconds = 0.0

    @property
    def steps_a_second(self) -> float:
        """Control steps a second, measured in rounds or, before the first, estimated."""
        if self.steps and self.sweep_seconds:
            return self.steps / self.sweep_seconds
        return self.pace.steps_a_second if self.pace else 0.0


class RunFolder:
    """The folder of a run.

    Attributes:
        state: as it stands, None before the first checkpoint; `save` writes it.
    """

    def __init__(self, path: Path) -> None:
        """Open the folder, or begin one.

        Raises:
            TutorialError: it cannot be written to, or holds something else or another version.
        """
        check_writable(path)
        self.path = path
        self.state: State | None = None
        file = path / "accept.json"
        if is_file(file):
            self.state = _read(file)
        elif path.is_dir() and any(path.iterdir()):
            remedy = "Choose another folder with --out."
            raise TutorialError(f"{path} is not empty and holds no acceptance run. {remedy}")

    def agree(self, acting: Acting, workers: int) -> State:
        """The state to go on with: the folder's, if it is of the same checkpoint, else a new one.

        Raises:
            TutorialError: the folder is of another checkpoint, or of other weights or workers.
        """
        if self.state is None:
            self.state = State(RUN_FORMAT, {}, workers)
        if self.state.workers != workers:
            raise self._other("--workers", self.state.workers, workers)
        for suite in acting.suites:
            before = self.state.acting.get(suite, acting)
            # Its suites are more where a checkpoint for long tasks is named later.
            if msgspec.structs.replace(before, suites=acting.suites) != acting:
                raise self._other("checkpoint or weights", before, acting)
            self.state.acting[suite] = acting
        self.save()
        return self.state

    def _other(self, what: str, before: Any, now: Any) -> TutorialError:
        return TutorialError(
            f"{self.path} holds a run with another {what}: {_shown(before)}; asked for was "
            f"{_shown(now)}. Give the same to go on. {AGAIN}"
        )

    def save(self) -> None:
        """Write the state."""
        assert self.state is not None
        self.path.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(self.state), indent=1)
        write_atomically(self.path / "accept.json", text + b"\n")

    def sweep_folder(self, one: Round) -> Path:
        """Where a round's sweep lies."""
        return self.path / one.stage.suite / one.name

    def sweep(self, one: Round) -> Sweep | None:
        """A round's sweep as far as it is; None where it has no episode."""
        folder = self.sweep_folder(one)
        text = folder / "episodes.jsonl"
        return read_sweep(folder) if is_file(text) and text.stat().st_size else None

    def is_done(self, one: Round) -> bool:
        """Whether every episode of a round has ended."""
        found = self.sweep(one)
        return found is not None and not found.notes

    def rows(self, one: Round) -> list[Row]:
        """The episodes of a finished round, from a file beside it that the first call writes."""
        kept = self.path / one.stage.suite / f"{one.name}.json"
        if is_file(kept):
            return decode(read_bytes(kept, AGAIN, 2**24), list[Row], str(kept), AGAIN)
        sweep = self.sweep(one)
        found = rows_of(one.stage.name, sweep) if sweep else []
        write_atomically(kept, msgspec.json.encode(found) + b"\n")
        return found

    def joined(self, suite: str, rounds: Sequence[Round]) -> Sweep | None:
        """The finished rounds of a suite as one sweep, for a report; None without any."""
        found = {r.name: self.sweep(r) for r in rounds if r.stage.suite == suite}
        sweeps = {name: sweep for name, sweep in found.items() if sweep is not None}
        if not sweeps:
            return None
        episodes: list[Episode] = []
        for name, sweep in sweeps.items():
            episodes += [
                replace(e, folder=e.folder and f"{name}/{e.folder}") for e in sweep.episodes
            ]
        conditions = list(dict.fromkeys(e.condition for e in episodes))
        first = next(iter(sweeps.values()))
        config = {**first.config, "conditions": conditions, "command": ""}
        return Sweep(self.path / suite, config, tuple(episodes), ())


class _Format(msgspec.Struct):
    format: int


def _read(path: Path) -> State:
    text = read_bytes(path, AGAIN)
    found = decode(text, _Format, str(path), AGAIN).format
    if found != RUN_FORMAT:
        raise TutorialError(
            f"{path} has format {found}; this version reads {RUN_FORMAT}. Use the vla-tutorial "
            f"that wrote it. {AGAIN}"
        )
    return decode(text, State, str(path), AGAIN)


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:400]
