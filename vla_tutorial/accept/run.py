"""A run's steps without a terminal: checks, plan, rounds, and what they settle."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from statistics import fmean
from typing import Any

import msgspec

from vla_tutorial.accept.actors import Actors
from vla_tutorial.accept.budget import Estimate, Speed, choose, in_words
from vla_tutorial.accept.drafts import count_drafts
from vla_tutorial.accept.evidence import Evidence
from vla_tutorial.accept.folder import RunFolder, State
from vla_tutorial.accept.pack import PACK_FORMAT, Pack, Ran, public_name, write_pack
from vla_tutorial.accept.page import accept_html
from vla_tutorial.accept.precision import check_engine, compare_weights
from vla_tutorial.accept.rehearse import rehearse
from vla_tutorial.accept.rows import Row
from vla_tutorial.accept.settle import settle
from vla_tutorial.accept.stages import PUBLISHED_STAGE, Round, queue
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.policies.model import ModelPolicy, weights_on
from vla_tutorial.provenance import machine, versions
from vla_tutorial.report import build_report
from vla_tutorial.sweep import LocalEngine, SweepPlan, SweepProgress, prompts_of, warm_up

COMPARED = 50
"""Episodes of the published protocol from which drafts are counted."""

Sweeper = Callable[[SweepPlan, RunFolder, Round, LocalEngine, str], SweepProgress]
"""Runs a round: its plan, the run's folder, the round, an engine, the hash of the weights."""


@dataclass
class AcceptRun:
    """One call of the command.

    Attributes:
        budget: seconds, over all calls.
        weights: whether full weights are compared with each kind of few bits that the device has.
        say: told what takes time.
    """

    folder: RunFolder
    actors: Actors
    budget: float
    workers: int
    weights: bool
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        """The time begins."""
        self._began = time.monotonic()
        self._before = self.folder.state.spent if self.folder.state else 0.0
        self.suites: Sequence[str] = ()
        self._rounds: list[Round] = []

    @property
    def spent(self) -> float:
        """Seconds so far, those of earlier calls among them."""
        return self._before + time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - self.spent

    @property
    def state(self) -> State:
        """The folder's."""
        assert self.folder.state is not None
        return self.folder.state

    def prepare(self) -> None:
        """Load the checkpoint, agree with the folder, and measure what comes before the episodes.

        Raises:
            TutorialError: the checkpoint cannot be loaded, or the folder is of another one.
        """
        self.suites = self.actors.suites()
        self._rounds = queue(self.suites)
        first = self.suites[0]
        policy = self.actors.policy(first)
        state = self.folder.agree(self.actors.acting(first, self.suites), self.workers)
        if not state.checks:
            self._check(policy, first, state)
        self._save()

    def _check(self, policy: ModelPolicy, suite: str, state: State) -> None:
        device = str(policy.provenance["device"])
        state.machine = machine([] if device == "cpu" else [device])
        state.gpu = "a CPU" if device == "cpu" else device
        self.say("taking the first 20 actions, to measure this machine")
        found = rehearse(policy, self.actors.spec(suite), self.workers)
        state.pace = found.pace
        self.say("comparing the engine with the eager reference")
        checks: dict[str, Any] = {
            "pace": msgspec.to_builtins(found.pace),
            "engine": msgspec.to_builtins(check_engine(policy, found.inputs)),
        }
        spec = self.actors.spec(suite)
        if self.weights and spec.weights in (None, "bf16"):
            names = weights_on(str(policy.model.device))
            # Two models may not fit into a GPU's memory.
            self.actors.close()

            def load(name: str) -> ModelPolicy:
                loaded = replace(spec, weights=name).load_policy()
                assert isinstance(loaded, ModelPolicy)
                return loaded

            compared = compare_weights(load, found.inputs, names, self.say)
            checks["weights"] = msgspec.to_builtins(compared)
        state.checks = checks

    def remaining(self) -> list[Round]:
        """Rounds that have not ended."""
        return [one for one in self._rounds if not self.folder.is_done(one)]

    def plan(self) -> list[Estimate]:
        """The rounds that fit into what is left of the budget.

        Raises:
            TutorialError: nothing does, and nothing has run yet.
        """
        rounds = self.remaining()
        ended = {one.name: self._ended(one) for one in rounds}
        found = choose(rounds, self.speed(), self.left, self.finished(), ended)
        if rounds and not found and len(rounds) == len(self._rounds):
            raise TutorialError(self._too_small(rounds[0]))
        return found

    def _too_small(self, first: Round) -> str:
        needed = self.speed().seconds(first)
        minutes = int((self.spent + needed) / 60) + 1
        return (
            f"A budget of {in_words(self.budget)} settles no claim: the checks took "
            f"{in_words(self.spent)}, and the first {first.episodes} episodes of "
            f"{first.stage.about} take at most {in_words(needed)} here. They would say whether the "
            f"checkpoint works at all. Give --budget {minutes}m; the checks are kept."
        )

    def fits(self, one: Round) -> bool:
        """Whether what is left of a round fits into what is left of the budget, now."""
        before = one.baseline()
        if before is not None and not self.folder.is_done(before):
            return False
        return self.speed().seconds(one, one.episodes - self._ended(one)) <= self.left

    def _ended(self, one: Round) -> int:
        begun = self.folder.sweep(one)
        return len(begun.episodes) if begun else 0

    def begun(self) -> list[tuple[Round, int]]:
        """Rounds that the time or a signal cut off, and how many of their episodes have ended."""
        found = [(one, self._ended(one)) for one in self.remaining()]
        return [(one, ended) for one, ended in found if ended]

    def speed(self) -> Speed:
        """What rounds are estimated by, from those that have ended."""
        assert self.state.pace is not None
        taken: dict[str, list[int]] = {}
        for one in self.finished():
            found = [row.steps for row in self.folder.rows(one) if row.steps]
            taken.setdefault(one.stage.name, []).extend(found)
        steps = {name: fmean(found) for name, found in taken.items() if found}
        return Speed(self.state.pace, self.state.steps_a_second, steps)

    def run_round(self, one: Round, sweep: Sweeper) -> SweepProgress:
        """Run what is left of a round, and write down how fast it went."""
        suite = one.stage.suite
        policy = self.actors.policy(suite)
        acting = self.actors.acting(suite, self.suites)
        self.folder.agree(acting, self.workers)
        plan = one.plan(self.actors.spec(suite))
        plan.check()
        warm = partial(warm_up, policy, prompts_of(plan), self.workers)
        engine = LocalEngine(policy, self.workers, warm)
        progress = sweep(plan, self.folder, one, engine, acting.weights)
        self.state.steps += progress.steps
        self.state.sweep_seconds += progress.seconds
        self._save()
        return progress

    def _save(self) -> None:
        self.state.spent = self.spent
        self.folder.save()

    def finished(self) -> list[Round]:
        """Rounds that have ended."""
        return [one for one in self._rounds if self.folder.is_done(one)]

    def write_results(self) -> Pack:
        """Judge every claim by the finished rounds, and write page, report and pack.

        Raises:
            TutorialError: as `write_pack`.
        """
        rounds = self.finished()
        rows = [row for one in rounds for row in self.folder.rows(one)]
        checks = dict(self.state.checks)
        drafts = count_drafts(self._published_logs(rounds))
        if drafts is not None:
            checks["drafts"] = msgspec.to_builtins(drafts)
        pack = self._pack(rows, checks)
        write_pack(self.folder.path / "pack.json", pack)
        report = "report.html" if self._write_report(rounds) else None
        write_atomically(self.folder.path / "index.html", accept_html(pack, report))
        return pack

    def _pack(self, rows: Sequence[Row], checks: dict[str, Any]) -> Pack:
        evidence = Evidence(rows, self.state.pace, self.state.gpu, checks)
        acting = {one.weights: one for one in self.state.acting.values()}
        return Pack(
            format=PACK_FORMAT,
            ran=[
                Ran(public_name(a.checkpoint), a.weights, a.held, a.dtype, a.suites)
                for a in acting.values()
            ],
            gpu=self.state.gpu,
            machine=self.state.machine,
            versions=versions(),
            date=datetime.now(UTC).date().isoformat(),
            hours=round(self.spent / 3600, 3),
            checks=checks,
            claims=settle(evidence),
            episodes=list(rows),
        )

    def _published_logs(self, rounds: Sequence[Round]) -> list[Any]:
        found = []
        for one in rounds:
            sweep = self.folder.sweep(one) if one.stage is PUBLISHED_STAGE else None
            for episode in sweep.episodes if sweep else ():
                folder = sweep.folder / (episode.folder or "") if sweep else None
                if folder is not None and (folder / "steps.jsonl").is_file():
                    found.append(folder)
        return found[:COMPARED]

    def _write_report(self, rounds: Sequence[Round]) -> bool:
        suites = dict.fromkeys(one.stage.suite for one in rounds)
        sweeps = [s for suite in suites if (s := self.folder.joined(suite, rounds))]
        if not sweeps:
            return False
        # Not above: it imports matplotlib.
        from vla_tutorial.report.page import report_html

        page = report_html(build_report(sweeps), sweeps)
        write_atomically(self.folder.path / "report.html", page)
        return True
