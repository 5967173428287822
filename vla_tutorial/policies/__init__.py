"""Policies by name: `mini`, `mini-narrow`, `openvla`; `expert` (scripted, privileged); `remote`.

`openpi` is a client of openpi's servers. "my_module:make_policy" is one of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from typing import Any

from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.policies.base import (
    Policy,
    PolicyInput,
    PolicyUnreachable,
    PrivilegedState,
)
from vla_tutorial.policies.own import ActionPolicy, is_own, load_own, own_wiring
from vla_tutorial.policies.suites import (
    NARROW,
    PACKAGED,
    check_suite,
    key_among,
    known_suites,
    packaged_policies,
    packaged_weights,
    small_key,
    unfamiliar,
    warn_of_suite,
)
from vla_tutorial.sim import base_suite

__all__ = [
    "POLICIES",
    "SERVED",
    "ActionPolicy",
    "Policy",
    "PolicyInput",
    "PolicyUnreachable",
    "PrivilegedState",
    "check_name",
    "check_suite",
    "known_suites",
    "load_policy",
    "native_key",
    "native_wiring",
    "packaged_policies",
    "unfamiliar",
    "warn_of_suite",
]


def _load_expert(checkpoint: str | None = None, **options: Any) -> Policy:
    from vla_tutorial.policies.expert import ExpertPolicy

    if checkpoint or options:
        raise TutorialError("The expert is a script: omit --checkpoint, --revision and --device.")
    return ExpertPolicy()


def _load_openvla(checkpoint: str | None = None, **options: Any) -> Policy:
    from vla_tutorial.policies.model import load_model_policy

    if not checkpoint:
        raise TutorialError(
            "The policy 'openvla' needs --checkpoint: a folder in the published layout, or a hub "
            "id such as openvla/openvla-7b-finetuned-libero-object."
        )
    return load_model_policy("openvla", checkpoint, **options)


def _load_small(name: str, checkpoint: str | None = None, **options: Any) -> Policy:
    from vla_tutorial.policies.model import load_model_policy

    if checkpoint:
        return load_model_policy(name, checkpoint, **options)
    weights = packaged_weights(name)
    if not weights.is_dir():
        raise TutorialError(
            f"The weights of {name} do not come with this version. Train them with vla-tutorial "
            f"train --recipe {name}, then give --checkpoint run/mini; or use --policy mini."
        )
    with resources.as_file(weights) as packaged:
        policy = load_model_policy(name, packaged, **options)
    # A record must not say where this machine keeps packages.
    where = f"vla_tutorial/weights/{PACKAGED[name]}"
    policy.provenance = {**policy.provenance, "checkpoint": where}
    return policy


def _load_remote(checkpoint: str | None = None, **options: Any) -> Policy:
    from vla_tutorial.policies.remote import RemotePolicy

    if options:
        given = ", ".join(f"--{name}" for name in options)
        raise TutorialError(f"A policy's server has its own checkpoint and device: omit {given}.")
    return RemotePolicy(_address(checkpoint))


def _load_openpi(checkpoint: str | None = None, **options: Any) -> Policy:
    try:
        from vla_tutorial.policies.openpi import OpenPiPolicy
    except ModuleNotFoundError as e:
        remedy = "Install it: pip install 'vla-tutorial[serve]'"
        raise TutorialError(f"The policy 'openpi' needs a library ({e}). {remedy}") from e
    if options:
        given = ", ".join(f"--{name}" for name in options)
        raise TutorialError(f"A policy's server has its own checkpoint and device: omit {given}.")
    return OpenPiPolicy(_address(checkpoint, "openpi"))


def _address(given: str | None, policy: str = "remote") -> str:
    if not given:
        example = "for example http://192.168.1.5:8000"
        raise TutorialError(f"The policy {policy!r} needs --url, {example}.")
    return given


# The loader of every policy by name. It imports what it needs when it is called.
POLICIES: dict[str, Callable[..., Policy]] = {
    "mini": partial(_load_small, "mini"),
    NARROW: partial(_load_small, NARROW),
    "expert": _load_expert,
    "openvla": _load_openvla,
    "remote": _load_remote,
    "openpi": _load_openpi,
}

SERVED = ("remote", "openpi")
"""Policies that a server answers for: their checkpoint is its address."""


def check_name(name: str) -> None:
    """Raise a TutorialError unless a policy is called so, or `name` is a function of the user's."""
    if name not in POLICIES and not is_own(name):
        remedy = "Or give one of your own: my_module:make_policy."
        raise unknown("policy", name, POLICIES, remedy)


def load_policy(name: str, checkpoint: str | None = None, **options: Any) -> Policy:
    """The policy called `name`, ready to predict.

    Args:
        name: a key of `POLICIES`, or "my_module:make_policy".
        checkpoint: hub id or folder, for policies that have one; the address of a server, for
            those of `SERVED`.
        options: what the policy's loader takes, for example `revision` and `device` (see
            `load_model_policy`).

    Raises:
        TutorialError: the name is unknown, the policy takes no such option, or the checkpoint
            cannot be used.
    """
    check_name(name)
    if is_own(name):
        return load_own(name, checkpoint, **options)
    return POLICIES[name](checkpoint=checkpoint, **options)


def native_key(policy: str, suite: str, checkpoint: str | None = None) -> str:
    """Whose action statistics a policy's tokens are meant for, unless the user says otherwise.

    A published checkpoint carries those of the suite that it was trained on. For the policy
    "remote" the server at `checkpoint` is asked once a process, so this raises as `load_policy`.
    A small policy knows several suites; a suite that it must not be run on is refused
    (`check_suite`).
    """
    if policy == "remote":
        from vla_tutorial.policies.remote import describe

        served = describe(_address(checkpoint))
        policy = served.policy
        if policy in PACKAGED and served.statistics:
            return key_among(policy, suite, tuple(served.statistics))
    if policy == "expert":
        from vla_tutorial.policies.expert import native_key as of_expert

        return of_expert(suite)
    if policy in PACKAGED:
        return small_key(policy, suite, checkpoint)
    return base_suite(suite)


def native_wiring(policy: str) -> Mapping[str, Any]:
    """Settings of the wiring that a policy was made for, where they are not OpenVLA's published.

    Raises:
        TutorialError: it is one of the user's own that does not exist.
    """
    if policy == "openpi":
        from vla_tutorial.policies.openpi import WIRING

        return WIRING
    return own_wiring(policy) if is_own(policy) else {}
