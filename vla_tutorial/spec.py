"""Which episode to run, said once for the command line, sweeps, the lab and clips."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from vla_tutorial.conditions import PUBLISHED, apply
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies import (
    SERVED,
    Policy,
    check_suite,
    load_policy,
    native_key,
    native_wiring,
    warn_of_suite,
)
from vla_tutorial.scene import OwnScene, Scene
from vla_tutorial.sim import step_limit, task_of
from vla_tutorial.wiring import WhileWaiting, Wiring


@dataclass(frozen=True)
class EpisodeSpec:
    """Everything that decides an episode; by default the published protocol on the first task.

    Attributes:
        suite, task, init, target, layout_seed, own, instruction: as `Scene` has them.
        policy: a key of `policies.POLICIES`, or "my_module:make_policy".
        checkpoint: hub id or folder, for policies that have one; the address of a server, for the
            policies "remote" and "openpi".
        conditions: names from the catalogue, in the order in which they are applied.
        max_steps, embedded_statistics, realtime, while_waiting: as `Wiring` has them.
        revision: branch, tag or commit of a checkpoint on the hub.
        device: where a model runs, for example "cuda:0"; None takes the first GPU, else the CPU.
        unnorm_key: whose action statistics to use; None takes those that the policy was made for.
        weights: how a model's weights are held, as `load_model_policy` has it.
    """

    suite: str = "libero_object"
    task: int = 0
    init: int = 0
    policy: str = "mini"
    checkpoint: str | None = None
    conditions: tuple[str, ...] = ()
    max_steps: int | None = None
    revision: str | None = None
    device: str | None = None
    unnorm_key: str | None = None
    embedded_statistics: bool = False
    target: str | None = None
    layout_seed: int | None = None
    own: OwnScene | None = None
    realtime: float | None = None
    while_waiting: WhileWaiting = "last"
    weights: str | None = None
    instruction: str | None = None

    @property
    def condition(self) -> str:
        """The conditions as records name them: joined with "+", or "published" for none."""
        return "+".join(self.conditions) or PUBLISHED

    def settings(self) -> tuple[Wiring, Scene]:
        """The wiring and the scene, with the conditions applied.

        Raises:
            TutorialError: as `apply`, or a condition replaces the instruction that is given.
        """
        wiring = Wiring(
            unnorm_key=self.unnorm_key or native_key(self.policy, self.suite, self.checkpoint),
            embedded_statistics=self.embedded_statistics,
            max_steps=self.max_steps,
            realtime=self.realtime,
            while_waiting=self.while_waiting,
            **native_wiring(self.policy),
        )
        scene = Scene(
            self.suite,
            self.task,
            self.init,
            instruction=self.instruction,
            target=self.target,
            layout_seed=self.layout_seed,
            own=self.own,
        )
        wiring, scene = apply(self.conditions, wiring, scene)
        if scene.instruction != self.instruction and self.instruction is not None:
            raise TutorialError(
                f"{self.condition} has an instruction of its own. Give --instruction or that "
                "condition, not both."
            )
        return wiring, scene

    def check(self) -> None:
        """Raise a TutorialError if the suite, task, initial state or a condition does not exist.

        So does a suite or scene without a step limit, where none is given, and a suite on which the
        policy must not run (`policies.check_suite`). The first call imports LIBERO, which takes two
        seconds.
        """
        check_suite(self.policy, self.suite)
        _, scene = self.settings()
        task_of(scene)
        self.limit()

    def load_policy(self) -> Policy:
        """The policy that acts, ready to predict; raises as `policies.load_policy`.

        A suite that it does not know is said in a warning, and in its provenance.
        """
        options = {"revision": self.revision, "device": self.device, "weights": self.weights}
        given = {name: value for name, value in options.items() if value is not None}
        policy = load_policy(self.policy, self.checkpoint, **given)
        warn_of_suite(policy, self.suite)
        return policy

    def limit(self) -> int:
        """Control steps after which the episode has failed."""
        return self.max_steps or step_limit(self.suite)

    def command(self, folder: Path) -> str:
        """The shell command that records the same episode in `folder`."""
        words = ["vla-tutorial", "rollout"]
        named = "init instruction policy checkpoint revision device weights unnorm_key max_steps"
        named = f"{named} realtime"
        if self.own is None:
            named = f"suite task {named}"
        else:
            words += ["--bddl", str(self.own.bddl)]
            if self.own.init_states is not None:
                words += ["--init-states", str(self.own.init_states)]
        for name in named.split():
            value = getattr(self, name)
            if value is not None:
                served = name == "checkpoint" and self.policy in SERVED
                option = "url" if served else name
                words += [f"--{option.replace('_', '-')}", str(value)]
        if self.while_waiting != "last":
            words += ["--while-waiting", self.while_waiting]
        if self.embedded_statistics:
            words.append("--embedded-statistics")
        for name in self.conditions:
            words += ["--condition", name]
        return shlex.join([*words, "--out", str(folder)])

    def python(self, folder: Path) -> str:
        """The line of Python that records the same episode in `folder`."""
        given = [repr(str(folder))]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "own" and self.own is not None:
                files = [repr(str(path)) for path in (self.own.bddl, self.own.init_states) if path]
                given.append(f"own=vla_tutorial.sim.read_own_scene({', '.join(files)})")
            elif value != field.default or field.name in ("task", "init"):
                given.append(f"{field.name}={value!r}")
        return f"vla_tutorial.lab.run({', '.join(given)})"


PUBLISHED_EPISODE = EpisodeSpec()
"""`mini` on the first task of libero_object under the published protocol."""

PUBLISHED_WIRING, PUBLISHED_SCENE = PUBLISHED_EPISODE.settings()
"""With these the conditions are compared."""


def split_condition(condition: str) -> tuple[str, ...]:
    """The conditions that a name joins: "no_flip+wrong_prompt" → both, "published" → ()."""
    if condition == PUBLISHED:
        return ()
    return tuple(condition.split("+"))
