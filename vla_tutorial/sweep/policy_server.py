"""The served policy of a sweep: loaded once, warmed up, and asked in batches."""

from __future__ import annotations

import sys
import time
import timeit
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import numpy as np

from vla_tutorial import prompt
from vla_tutorial.arrays import Ints
from vla_tutorial.loop import statistics_for
from vla_tutorial.policies import Policy, PolicyInput, PolicyUnreachable
from vla_tutorial.policies.base import check_applies
from vla_tutorial.prompt import Prompt
from vla_tutorial.provenance import weights_hash
from vla_tutorial.sim import task_of
from vla_tutorial.spec import split_condition
from vla_tutorial.sweep.messages import PolicyInfo
from vla_tutorial.sweep.plan import SweepPlan
from vla_tutorial.sweep.remote_policy import ErrorTaggingPolicy, PolicyError

MAX_BATCH = 32
"""The largest batch: the largest CUDA graph of the policy's engine."""

REPEATS = 3
"""Timed answers of each batch size. The shortest counts, since simulators start meanwhile."""


def load_policy_for(plan: SweepPlan) -> tuple[Policy, str]:
    """The policy, and the hash of its weights.

    A TutorialError says that it cannot be loaded, or lacks statistics that an episode needs.
    """
    policy = plan.spec.load_policy()
    check_statistics(plan, policy)
    return policy, weights_hash(policy)


def check_statistics(plan: SweepPlan, policy: Policy) -> None:
    """Raise a TutorialError if the policy lacks action statistics that an episode needs.

    So does a condition that does not apply to it.
    """
    for spec in plan.specs():
        wiring, _ = spec.settings()
        statistics_for(policy, wiring)
    for condition in plan.conditions:
        check_applies(policy, split_condition(condition))


def prompts_of(plan: SweepPlan) -> list[Prompt]:
    """Every prompt that an episode of the sweep asks about, once."""
    one_each = {(spec.condition, spec.task, spec.target): spec for spec in plan.specs()}
    found: dict[Prompt, None] = {}
    for spec in one_each.values():
        wiring, scene = spec.settings()
        own = task_of(scene).instruction
        found[prompt.build(wiring, scene.instruction_for(own))] = None
    return list(found)


def warm_up(policy: Policy, prompts: Iterable[Prompt], askers: int) -> dict[int, float]:
    """Capture every CUDA graph that these prompts need: each batch size with each length.

    Args:
        askers: how many can ask at once. A larger batch would only take a small GPU's memory.

    Returns:
        Batch size → seconds of an answer; empty where no graphs fix the sizes of batches.
    """
    from vla_tutorial.policies.model import ModelPolicy

    if not isinstance(policy, ModelPolicy) or policy.engine is None or not policy.engine.graphs:
        return {}
    from vla_tutorial.openvla.engine import ROWS, TEXT_STEP
    from vla_tutorial.pixels import SIZE

    # One prompt of each length: a graph serves all lengths up to the next multiple of TEXT_STEP.
    lengths = {(len(policy.ids(text)) - 1) // TEXT_STEP: text for text in prompts}
    seconds: dict[int, float] = {}
    for text in lengths.values():
        for rows in ROWS[: bisect_left(ROWS, askers) + 1]:
            batch = [PolicyInput(np.zeros((SIZE, SIZE, 3), np.uint8), text)] * rows
            policy.predict(batch)
            taken = timeit.repeat(partial(policy.predict, batch), number=1, repeat=REPEATS)
            seconds[rows] = max(seconds.get(rows, 0.0), min(taken))
    return seconds


def best_batch_size(arrived: int, seconds: Mapping[int, float], most: int) -> int:
    """How many questions, of at least one that has `arrived`, to answer for most answers a second.

    A CUDA graph takes its time however full it is. Of 20 questions, 16 in a graph of 16 get more
    answers a second than all in one of 32; the other four are the first of the next batch.

    Args:
        seconds: batch size → time of an answer, from `warm_up`.
        most: the largest batch.
    """
    if not seconds:
        return min(arrived, most)
    rows = max(seconds, key=lambda size: (min(arrived, size) / seconds[size], size))
    return min(arrived, rows, most)


@dataclass(frozen=True, eq=False)
class Question:
    """What a worker asks; `answer` gets the tokens (N, D) of N inputs, or the policy's error."""

    inputs: Sequence[PolicyInput]
    answer: Future[Ints] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


class PolicyServer:
    """Answers questions in batches, first come, first served.

    On a CPU a batch gains little, and products depend on its size (the engine chooses by rows). So
    pictures are answered one at a time there: a result then cannot depend on which simulators
    happened to ask together.

    Attributes:
        serving: how the policy is asked, for `sweep.json`.
        questions: that wait for an answer.
        batch_seconds: batch size → time of an answer, from `warm_up`.
        waited: seconds that workers have waited, all together.
        together: whether a batch is answered in one go; otherwise one picture after the other.
    """

    def __init__(self, policy: Policy, threads: int | None = None) -> None:
        """Choose how to ask, on a CPU with so many of PyTorch's threads; None leaves them."""
        self.policy_info = PolicyInfo.of(policy)
        self.questions: list[Question] = []
        self.batch_seconds: dict[int, float] = {}
        self.waited = 0.0
        self._policy = ErrorTaggingPolicy(policy)
        address = policy.provenance.get("served_at")
        on_cpu = policy.provenance.get("device") == "cpu" and address is None
        self.together = policy.privileged or not on_cpu
        how = f"what has arrived, at most {MAX_BATCH}"
        if address is not None:
            how = f"what has arrived, sent to {address}, which makes its own"
        if policy.privileged:
            how = "none: the policy runs beside each simulator"
        elif on_cpu:
            how = "one at a time: on a CPU results then do not depend on who else asks"
        self.serving = {"batches": how}
        # A policy without PyTorch has not imported it, and nothing here should.
        if not self.together and "torch" in sys.modules:
            import torch

            if threads:
                torch.set_num_threads(threads)
            self.serving["torch_threads"] = str(torch.get_num_threads())

    def answer_next_batch(self) -> None:
        """Answer as many questions as makes most answers a second; raises as `answer`."""
        count = self.batch_size(len(self.questions))
        batch = self.questions[:count]
        del self.questions[:count]
        self.answer(batch)

    def batch_size(self, arrived: int) -> int:
        """How many questions to answer together of at least one that has `arrived`."""
        return best_batch_size(arrived, self.batch_seconds, MAX_BATCH)

    def answer(self, batch: Sequence[Question]) -> None:
        """Answer these questions.

        Where the policy raises something, a `PolicyError` is raised, which the questions get, too.
        A policy that could not be reached raises nothing: the questions alone get the error.
        """
        try:
            self._answer(batch)
        except (PolicyError, PolicyUnreachable) as e:
            for question in batch:
                if not question.answer.done():
                    question.answer.set_exception(e)
            if isinstance(e, PolicyError):
                raise
        now = time.perf_counter()
        self.waited += sum(now - question.since for question in batch)

    def _answer(self, batch: Sequence[Question]) -> None:
        if not self.together:
            for question in batch:
                answers = [self._policy.predict([item]) for item in question.inputs]
                question.answer.set_result(np.concatenate(answers))
            return
        inputs = list(chain.from_iterable(question.inputs for question in batch))
        ends = np.cumsum([len(question.inputs) for question in batch])
        answers = np.split(self._policy.predict(inputs), ends[:-1])
        for question, tokens in zip(batch, answers, strict=True):
            question.answer.set_result(tokens)
