"""A policy of the user's own: `--policy my_module:make_policy`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from vla_tutorial.actions import ACTION_DIMENSIONS, ActionStatistics
from vla_tutorial.arrays import Floats, Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.base import Policy, PolicyInput

EXAMPLE = "my_module:make_policy"


class ActionPolicy(Protocol):
    """A policy without tokens: what a function of the user's own may return.

    It may also have `name`, `statistics`, `provenance` and `close`, as `Policy` says. Other
    attributes that count, where it has them:

    - `chunk`: K, the actions of one answer (default 1).
    - `replan_steps`: how many of them to execute before the next question (default: all).
    - `inputs`: of "proprioception" and "wrist", those that `act` reads.
    """

    def act(self, batch: Sequence[PolicyInput]) -> ArrayLike:
        """N inputs → (N, 7) actions, or (N, K, 7), as LIBERO's `env.step` takes them.

        x, y, z and three rotations in [−1, 1]; gripper −1 open, +1 close.
        """


def is_own(name: str) -> bool:
    """Whether a policy's name is a module's and a function's."""
    return ":" in name


def load_own(name: str, checkpoint: str | None = None, **options: Any) -> Policy:
    """Call the function of `name`, with those of `checkpoint` and `options` that are given.

    Raises:
        TutorialError: there is no such function, or it returns no policy.
    """
    given = options if checkpoint is None else {"checkpoint": checkpoint, **options}
    made = find_factory(name)(**given)
    if callable(getattr(made, "act", None)):
        return _Acting(name, made)
    if callable(getattr(made, "predict", None)):
        return _Predicting(name, made)
    found = type(made).__name__
    remedy = "Return an object with predict (tokens) or act (actions), each of a batch of inputs."
    raise TutorialError(f"{name} returned a {found}, which is not a policy. {remedy}")


def find_factory(name: str) -> Callable[..., Any]:
    """The function that `name` says, imported from the working folder or what is installed.

    Raises:
        TutorialError: there is none.
    """
    module_name, _, function = name.partition(":")
    if not module_name or not function:
        raise TutorialError(f"{name!r} does not name a policy; expected, for example, {EXAMPLE}.")
    module = _import(module_name)
    factory = getattr(module, function, None)
    if not callable(factory):
        raise TutorialError(f"{module.__file__} has no function {function!r}; expected one.")
    return factory  # type: ignore[no-any-return]


def _import(name: str) -> ModuleType:
    if os.getcwd() not in sys.path and "" not in sys.path:
        # As `python -m` does, but last, so that no file there hides a library.
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name is None or not f"{name}.".startswith(f"{e.name}."):
            raise
        remedy = "Run this in the folder that holds it, or install it."
        raise TutorialError(f"There is no module {name!r}. {remedy}") from e


def own_wiring(name: str) -> Mapping[str, Any]:
    """Settings that the policy was made for: the function's attribute `wiring`, if it has one."""
    found = getattr(find_factory(name), "wiring", {})
    if not isinstance(found, Mapping):
        what = f"{name}.wiring is a {type(found).__name__}"
        raise TutorialError(f"{what}; expected settings, for example {{'jpeg': False}}.")
    return found


class _Own:
    """What both kinds share: the user's object with what it lacks."""

    def __init__(self, name: str, made: Any) -> None:
        self.name = name
        self._made = made
        self.privileged = bool(getattr(made, "privileged", False))
        self.statistics: Mapping[str, ActionStatistics] = getattr(made, "statistics", {})
        about = {key: getattr(made, key) for key in ABOUT if hasattr(made, key)}
        self.provenance: Mapping[str, Any] = {**getattr(made, "provenance", {}), **about}

    def close(self) -> None:
        """Close the user's object, if it can be closed."""
        close = getattr(self._made, "close", None)
        if close is not None:
            close()


ABOUT = ("chunk", "replan_steps", "inputs")
"""Attributes that become part of the provenance, where the loop reads them."""


class _Predicting(_Own):
    """It answers with tokens."""

    def predict(self, batch: Sequence[PolicyInput]) -> Ints:
        """N inputs → (N, 7) token ids, or (N, K, 7)."""
        tokens = np.asarray(self._made.predict(batch))
        if not np.issubdtype(tokens.dtype, np.integer):
            what = f"{self.name} answered with {tokens.dtype}, and tokens are integers"
            raise TutorialError(f"{what}. To answer with actions, name the method act.")
        check_shape(tokens, len(batch), self.provenance, self.name)
        return tokens.astype(np.int64)


class _Acting(_Own):
    """It answers with actions."""

    def __init__(self, name: str, made: Any) -> None:
        super().__init__(name, made)
        self.provenance = {**self.provenance, "answers": "actions"}

    def predict(self, batch: Sequence[PolicyInput]) -> Floats:
        """N inputs → (N, 7) actions in the data's units, or (N, K, 7)."""
        return from_commands(self._made.act(batch), len(batch), self.provenance, self.name)


def from_commands(
    answer: ArrayLike, count: int, provenance: Mapping[str, Any], name: str
) -> Floats:
    """Actions as LIBERO takes them, gripper −1 open … +1 close → 1 open … 0 close, checked.

    Raises:
        TutorialError: another shape than (count, 7), or (count, K, 7) with the chunk K of
            `provenance`; NaN or infinity.
    """
    found = np.array(answer, np.float64)
    check_shape(found, count, provenance, name)
    if not np.isfinite(found).all():
        raise TutorialError(f"{name} answered with NaN or infinity; expected finite numbers.")
    found[..., 6] = (1 - found[..., 6]) / 2
    return found


def check_shape(answer: Any, count: int, provenance: Mapping[str, Any], name: str) -> None:
    """Raise a TutorialError unless an answer to `count` inputs has the shape that it should."""
    chunk = int(provenance.get("chunk", 1))
    expected = (count, ACTION_DIMENSIONS) if chunk == 1 else (count, chunk, ACTION_DIMENSIONS)
    if answer.shape != expected:
        what = f"{name} answered {count} inputs with shape {answer.shape}"
        raise TutorialError(f"{what}; expected {expected}. A chunk's size is its attribute chunk.")
