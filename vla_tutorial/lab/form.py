"""The lab, for JupyterLab: a form that runs one episode after the other, shows it as it happens and says which line of code does the same.

    from vla_tutorial.lab.form import lab
    lab()

Everything that decides and records is in `live.py`; here are only the widgets.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vla_tutorial.conditions import BOUNDARIES, CATALOGUE
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab.live import Run, Session, run
from vla_tutorial.loop import Step
from vla_tutorial.pixels import orient
from vla_tutorial.policies import POLICIES
from vla_tutorial.sim import step_limit, suites, task_instructions
from vla_tutorial.spec import EpisodeSpec

__all__ = ["Form", "lab", "run"]

EVERY = 5
"""Control steps from one picture to the next: four pictures a second of the robot's time."""

CHECKPOINT = "openvla/openvla-7b-finetuned-libero-object"


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 → JPEG, some 8 KB."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def sentence(episode: Run) -> str:
    """How far a run is, or how it ended, in one line."""
    if episode.state == "error":
        return episode.error
    if episode.state in ("waiting", "preparing"):
        return "Loading the policy and building the simulator (up to a minute the first time) …"
    if episode.state == "running":
        return f"Control step {episode.steps} of at most {episode.limit}."
    if episode.result is None:
        return "Stopped before the first step; nothing was recorded."
    close = episode.result.first_close
    closed = "the gripper never closed" if close is None else f"first close at step {close}"
    verdict = {
        "success": "Success",
        "failure": "No success",
        "stopped": "Stopped (kept, marked incomplete)",
    }[episode.state]
    return f"{verdict} after {episode.steps} steps; {closed}. Recorded in {episode.folder}."


class Form:
    """The form. `choice` reads it, `start` and `stop` are its buttons.

    Attributes:
        box: the widget to display.
        runs: every run so far, the latest last.
        comparison: makes what is shown of the last two folders.
    """

    def __init__(
        self,
        folder: Path,
        session: Session | None = None,
        comparison: Callable[[Sequence[Run]], w.Widget] | None = None,
    ) -> None:
        """Build the widgets; nothing is loaded yet but LIBERO's list of tasks (seconds).

        Args:
            folder: where episodes are recorded: `001`, `002` and so on.
        """
        self.folder, self.session, self.comparison = (
            folder,
            session or Session(),
            comparison or compare,
        )
        self.runs: list[Run] = []
        self._make_inputs()
        self._make_outputs()
        for widget in (
            self.suite,
            self.task,
            self.init,
            self.policy,
            self.checkpoint,
            self.max_steps,
            *self.conditions.values(),
        ):
            widget.observe(self._changed, "value")
        self._changed()
        self.box = self._arrange()

    def _make_inputs(self) -> None:
        self.suite = w.Dropdown(
            description="Suite", options=suites(), value="libero_object", layout=_wide()
        )
        self.task = w.Dropdown(description="Task", options=_tasks("libero_object"), layout=_wide())
        self.init = w.BoundedIntText(
            description="Start", min=0, max=49, tooltip="Number of the saved initial state, 0 to 49"
        )
        self.policy = w.Dropdown(description="Policy", options=tuple(POLICIES), value="mini")
        self.checkpoint = w.Text(description="Checkpoint", value=CHECKPOINT, layout=_wide())
        self.max_steps = w.BoundedIntText(
            description="Max steps", min=1, max=1000, value=step_limit("libero_object")
        )
        self.conditions = {c.name: _checkbox(c.name, c.teaches) for c in CATALOGUE.values()}
        self.suite.observe(self._suite_changed, "value")

    def _make_outputs(self) -> None:
        self.start_button = w.Button(description="Run", button_style="primary", icon="play")
        self.stop_button = w.Button(description="Stop", icon="stop", disabled=True)
        self.start_button.on_click(lambda _: self.start())
        self.stop_button.on_click(lambda _: self.stop())
        self.progress = w.IntProgress(min=0, max=1, layout=w.Layout(width="100%"))
        self.status = w.HTML()
        self.code = w.HTML()
        self.camera, self.seen = (w.Image(format="jpeg", width=224, height=224) for _ in range(2))
        captions = {"the camera, turned upright": self.camera, "what the policy sees": self.seen}
        both = [w.VBox([image, w.HTML(text)]) for text, image in captions.items()]
        self.pictures = w.HBox(
            both, layout=w.Layout(flex_flow="row wrap", grid_gap="0.5rem", display="none")
        )
        self.together = w.Checkbox(
            description="compare with the last run", value=True, indent=False
        )
        self.together.observe(lambda _: self._show_result(), "value")
        self.result = w.VBox()

    def _arrange(self) -> w.VBox:
        scene = w.VBox(
            [self.suite, self.task, self.init, self.policy, self.checkpoint, self.max_steps]
        )
        groups = [
            w.VBox([self.conditions[c.name] for c in CATALOGUE.values() if c.boundary == boundary])
            for boundary in BOUNDARIES
        ]
        shelf = w.Accordion(groups, titles=tuple(BOUNDARIES), selected_index=0)
        broken = w.VBox([w.HTML("<b>Conditions</b> (none: the published protocol)"), shelf])
        form = w.HBox([scene, broken], layout=w.Layout(flex_flow="row wrap", grid_gap="1rem"))
        buttons = w.HBox([self.start_button, self.stop_button, self.together])
        return w.VBox(
            [form, self.code, buttons, self.progress, self.status, self.pictures, self.result]
        )

    @property
    def choice(self) -> EpisodeSpec:
        """What the form says now."""
        steps = (
            None if self.max_steps.value == step_limit(self.suite.value) else self.max_steps.value
        )
        return EpisodeSpec(
            self.suite.value,
            self.task.value,
            self.init.value,
            self.policy.value,
            self.checkpoint.value.strip() or None if self.policy.value == "openvla" else None,
            tuple(name for name, box in self.conditions.items() if box.value),
            steps,
        )

    @property
    def busy(self) -> bool:
        """Whether a run is on."""
        return bool(self.runs) and not self.runs[-1].ended

    def start(self) -> None:
        """What the button Run does."""
        if self.busy:
            return
        try:
            episode = Run(self.choice, _next_folder(self.folder), self.session, self._watch)
            self.runs.append(episode)
            self.result.children = ()
            episode.start()
        except TutorialError as e:
            self.runs.pop()
            self._say(str(e), wrong=True)

    def stop(self) -> None:
        """What the button Stop does: the run ends after its present step."""
        if self.busy:
            self.stop_button.disabled = True
            self.runs[-1].stop()

    def _suite_changed(self, _change: Any) -> None:
        self.task.options = _tasks(self.suite.value)
        self.max_steps.value = step_limit(self.suite.value)

    def _changed(self, _change: Any = None) -> None:
        """Check the choice and show its code; contradictions are said at once."""
        self.checkpoint.layout.display = None if self.policy.value == "openvla" else "none"
        self._show_code(self.choice)
        problem = _problem(self.choice)
        self.start_button.disabled = bool(problem) or self.busy
        if not self.busy:
            self._say(problem, wrong=True)

    def _show_code(self, choice: EpisodeSpec) -> None:
        folder = _next_folder(self.folder)
        lines = (choice.command(folder), f"import vla_tutorial.lab.form; {choice.python(folder)}")
        self.code.value = "The same in one line of shell, or of Python:" + "".join(
            f'<pre style="white-space: pre-wrap; margin: 0.3em 0">{html.escape(line)}</pre>'
            for line in lines
        )

    def _say(self, text: str, wrong: bool = False) -> None:
        mark = "<b>Cannot run:</b> " if wrong and text else ""
        self.status.value = (
            f'<div role="{"alert" if wrong else "status"}">{mark}{html.escape(text)}</div>'
        )

    def _watch(self, episode: Run) -> None:
        """Follow a run; called in the session's thread."""
        self.progress.max, self.progress.value = episode.limit, episode.steps
        if episode.latest is not None and (episode.steps % EVERY == 1 or episode.ended):
            self._show_pictures(episode.latest)
        if episode.ended or episode.steps % EVERY == 1 or not episode.steps:
            self._say(sentence(episode), wrong=episode.state == "error")
        if episode.steps <= 1 or episode.ended:
            self.start_button.disabled, self.stop_button.disabled = not episode.ended, episode.ended
        if episode.ended:
            self._show_code(self.choice)
            self._show_result()

    def _show_pictures(self, step: Step) -> None:
        self.camera.value, self.seen.value = (
            jpeg(orient(step.observation.image, "rotate_180")),
            jpeg(step.pixels),
        )
        self.pictures.layout.display = None

    def _show_result(self) -> None:
        """The last run, beside the one before it if that is wanted; the live pictures make way."""
        done = [r for r in self.runs if r.ended and r.result is not None]
        self.pictures.layout.display = None if self.busy else "none"
        self.result.children = (
            (self.comparison(done[-2:] if self.together.value else done[-1:]),)
            if done and not self.busy
            else ()
        )


def _tasks(suite: str) -> list[tuple[str, int]]:
    return [(f"{i} · {text}", i) for i, text in enumerate(task_instructions(suite))]


def _wide() -> w.Layout:
    return w.Layout(width="30rem", max_width="100%")


def _checkbox(name: str, teaches: str) -> w.Checkbox:
    return w.Checkbox(description=name, tooltip=teaches, indent=False)


def _problem(choice: EpisodeSpec) -> str:
    """Why this cannot run, or nothing."""
    try:
        choice.settings()
    except TutorialError as e:
        return str(e)
    return ""


def _next_folder(folder: Path) -> Path:
    """The first of `001`, `002` … that holds no episode."""
    taken = {int(p.parent.name) for p in folder.glob("[0-9][0-9][0-9]/episode.json")}
    return folder / f"{max(taken, default=0) + 1:03d}"


def compare(runs: Sequence[Run]) -> w.Widget:
    """The player for one or two runs."""
    from vla_tutorial.player.view import show_episodes

    labels = [", ".join(r.choice.conditions) or "published protocol" for r in runs]
    player: w.Widget = show_episodes(*(r.folder for r in runs), labels=labels).widget()
    return player


def lab(folder: str | Path = "out/lab") -> w.VBox:
    """The form, to be the last line of a cell in JupyterLab.

    Args:
        folder: where episodes are recorded.
    """
    return Form(Path(folder)).box
