"""Who acts on which suite: one checkpoint, or a second for long tasks; one is loaded at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vla_tutorial.accept.folder import Acting
from vla_tutorial.accept.stages import LONG, OBJECT
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies import unfamiliar
from vla_tutorial.policies.model import ModelPolicy
from vla_tutorial.provenance import weights_hash
from vla_tutorial.spec import EpisodeSpec

MINI = "mini"
"""A checkpoint of this name is the packaged one."""


def spec_of(
    checkpoint: str,
    suite: str = OBJECT,
    *,
    revision: str | None = None,
    device: str | None = None,
    weights: str | None = None,
) -> EpisodeSpec:
    """Who acts: `mini`, or OpenVLA with a folder or a hub id; the rest as `EpisodeSpec` has it."""
    given = EpisodeSpec(suite, revision=revision, device=device, weights=weights)
    if checkpoint == MINI and not Path(checkpoint).is_dir():
        return replace(given, policy=MINI)
    return replace(given, policy="openvla", checkpoint=checkpoint)


@dataclass
class Actors:
    """The checkpoints of a run.

    Attributes:
        main: who acts on every suite that it knows.
        long: who acts on libero_10 in its place, if anybody.
        say: told what takes time.
    """

    main: EpisodeSpec
    long: EpisodeSpec | None
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        """Nothing is loaded yet."""
        self._loaded: tuple[EpisodeSpec, ModelPolicy] | None = None

    def spec(self, suite: str) -> EpisodeSpec:
        """Who acts on a suite."""
        chosen = self.long if suite == LONG and self.long is not None else self.main
        return replace(chosen, suite=suite)

    def policy(self, suite: str) -> ModelPolicy:
        """The policy of a suite, loaded; another one is given back first.

        Raises:
            TutorialError: it cannot be loaded.
        """
        spec = self.spec(suite)
        if self._loaded is not None and replace(self._loaded[0], suite=suite) == spec:
            return self._loaded[1]
        self.close()
        self.say(f"loading {spec.checkpoint or spec.policy}")
        policy = spec.load_policy()
        assert isinstance(policy, ModelPolicy)
        self._loaded = (spec, policy)
        return policy

    def suites(self) -> Sequence[str]:
        """The suites that the claims ask for and the checkpoints know; loads the main one.

        Raises:
            TutorialError: there is none.
        """
        policy = self.policy(OBJECT)
        known = [suite for suite in (OBJECT, LONG) if not unfamiliar(policy, suite)]
        if self.long is not None and LONG not in known:
            known.append(LONG)
        if not known:
            listed = ", ".join(policy.statistics)
            raise TutorialError(
                f"The checkpoint was trained on {listed}; the chapter's claims are about {OBJECT} "
                f"and {LONG}. Give openvla/openvla-7b-finetuned-libero-object."
            )
        return known

    def acting(self, suite: str, suites: Sequence[str]) -> Acting:
        """What is recorded of the checkpoint that acts on `suite`, and on which of `suites`."""
        policy = self.policy(suite)
        spec = self.spec(suite)
        return Acting(
            policy=spec.policy,
            checkpoint=spec.checkpoint,
            weights=weights_hash(policy),
            held=spec.weights or "bf16",
            dtype=str(policy.provenance["dtype"]),
            suites=[s for s in suites if replace(self.spec(s), suite=suite) == spec],
        )

    def close(self) -> None:
        """Give the memory back."""
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None
