"""The lab's inputs: widgets that choose an episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]

from vla_tutorial.conditions import BOUNDARIES, CATALOGUE
from vla_tutorial.policies import POLICIES, known_suites
from vla_tutorial.sim import STEP_LIMITS, base_suite, step_limit, suites, task_instructions
from vla_tutorial.spec import EpisodeSpec

SUITE = "libero_object"
CHECKPOINT = "openvla/openvla-7b-finetuned-libero-object"

ADDRESS = "http://127.0.0.1:8000"
"""Of `vla-tutorial serve` on this machine."""


class Inputs:
    """Widgets for the fields of an `EpisodeSpec`; `box` displays them.

    `changed` is called after any widget changed. Only LIBERO's list of tasks is loaded (seconds).
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        limit = step_limit(SUITE)
        self.suite = w.Dropdown(
            description="Suite",
            options=_suites("mini"),
            value=SUITE,
            layout=_wide(),
        )
        self.task = w.Dropdown(
            description="Task",
            options=_tasks(SUITE),
            layout=_wide(),
        )
        tip = "Number of the saved initial state, 0 to 49"
        self.init = w.BoundedIntText(description="Initial state", max=49, tooltip=tip)
        self.policy = w.Dropdown(description="Policy", options=tuple(POLICIES), value="mini")
        self.checkpoint = w.Text(description="Checkpoint", value=CHECKPOINT, layout=_wide())
        self.address = w.Text(
            description="Address",
            value=ADDRESS,
            layout=_wide(),
            continuous_update=False,
        )
        self.max_steps = w.BoundedIntText(
            description="Max steps",
            min=1,
            max=1000,
            value=limit,
        )
        self._fields = (
            self.suite,
            self.task,
            self.init,
            self.policy,
            self.checkpoint,
            self.address,
            self.max_steps,
        )
        self.conditions = {}
        for name, condition in CATALOGUE.items():
            tip = condition.teaches
            self.conditions[name] = w.Checkbox(description=name, tooltip=tip, indent=False)
        self.box = self._arrange()
        self._show_checkpoint()
        self.suite.observe(self._suite_changed, "value")
        self.policy.observe(self._show_checkpoint, "value")
        self.policy.observe(self._sort_suites, "value")
        for widget in (*self._fields, *self.conditions.values()):
            widget.observe(lambda _change: changed(), "value")

    def _arrange(self) -> w.HBox:
        groups = []
        for boundary in BOUNDARIES:
            members = [c for c in CATALOGUE.values() if c.boundary == boundary]
            groups.append(w.VBox([self.conditions[c.name] for c in members]))
        shelf = w.Accordion(groups, titles=tuple(BOUNDARIES), selected_index=0)
        title = w.HTML("<b>Conditions</b> (none: the published settings)")
        layout = w.Layout(flex_flow="row wrap", grid_gap="1rem")
        return w.HBox([w.VBox(self._fields), w.VBox([title, shelf])], layout=layout)

    @property
    def spec(self) -> EpisodeSpec:
        """The episode that is chosen now."""
        suite = self.suite.value
        policy = self.policy.value
        texts = {"openvla": self.checkpoint.value, "remote": self.address.value}
        checkpoint = texts.get(policy, "").strip() or None
        max_steps = self.max_steps.value
        if max_steps == step_limit(suite):
            max_steps = None
        names = tuple(name for name, box in self.conditions.items() if box.value)
        start = (suite, self.task.value, self.init.value)
        return EpisodeSpec(*start, policy, checkpoint, names, max_steps)

    def _suite_changed(self, _change: Any) -> None:
        self.task.options = _tasks(self.suite.value)
        self.max_steps.value = step_limit(self.suite.value)

    def _sort_suites(self, _change: Any) -> None:
        # New options choose their first one, and with it a task and a limit: all are put back.
        fields = (self.suite, self.task, self.max_steps)
        chosen = [field.value for field in fields]
        self.suite.options = _suites(self.policy.value)
        for field, value in zip(fields, chosen, strict=True):
            field.value = value

    def _show_checkpoint(self, _change: Any = None) -> None:
        for policy, text in (("openvla", self.checkpoint), ("remote", self.address)):
            text.layout.display = None if self.policy.value == policy else "none"


def _suites(policy: str) -> list[tuple[str, str]]:
    """Label and name of each suite with a published step limit, those that fit a policy first."""
    known = known_suites(policy)
    named = [s for s in suites() if base_suite(s) in STEP_LIMITS]
    fitting = [s for s in named if base_suite(s) in known or not known]
    others = [s for s in named if s not in fitting]
    return [(s, s) for s in fitting] + [
        (f"{s} · {policy} was not trained on it", s) for s in others
    ]


def _tasks(suite: str) -> list[tuple[str, int]]:
    return [(f"{i} · {text}", i) for i, text in enumerate(task_instructions(suite))]


def _wide() -> w.Layout:
    # A new one each time: a layout that widgets share hides them together.
    return w.Layout(width="30rem", max_width="100%")
