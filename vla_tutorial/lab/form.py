"""The lab, for JupyterLab: a form that runs one episode after the other and shows it as it happens.

    from vla_tutorial.lab import lab
    lab()

`inputs.py` chooses the episode, `live.py` runs it. Here are the buttons and what is shown.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as w  # type: ignore[import-untyped]
from PIL import Image

from vla_tutorial.arrays import Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.lab.inputs import Inputs
from vla_tutorial.lab.live import LiveEpisode, Session
from vla_tutorial.pixels import orient
from vla_tutorial.player import show_episodes

EVERY = 5
"""Control steps from one picture to the next: four pictures a second of the robot's time."""

STARTS = {word: word for word in ("suite", "task", "policy", "checkpoint")} | {
    "initial state": "init"
}
"""What the form calls a field of `EpisodeSpec` that two compared runs should share."""


def jpeg(picture: Picture) -> bytes:
    """(H, W, 3) uint8 → JPEG, some 8 KB."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def progress_sentence(episode: LiveEpisode) -> str:
    """How far an episode is, or how it ended, in one line."""
    if episode.state == "error":
        return episode.error
    if episode.state in ("waiting", "preparing"):
        return "Loading the policy and building the simulator (up to a minute the first time) …"
    if episode.state == "running":
        return f"Control step {episode.steps} of at most {episode.limit}."
    if episode.result is None:
        return "Stopped before the first step; nothing was recorded."
    return f"{episode.result.sentence()} Recorded in {episode.folder}."


def show_player(episodes: Sequence[LiveEpisode]) -> w.Widget:
    """The player for one or two episodes."""
    folders = [episode.folder for episode in episodes]
    return show_episodes(*folders, labels=[label(episode) for episode in episodes]).widget()


def label(episode: LiveEpisode) -> str:
    """What the player calls an episode: its number, since two runs may have equal settings."""
    settings = ", ".join(episode.spec.conditions) or "published settings"
    stopped = f", stopped at step {episode.steps}" if episode.state == "stopped" else ""
    return f"Run {episode.folder.name}: {settings}{stopped}"


def compared(one: LiveEpisode, other: LiveEpisode) -> str:
    """Why two runs cannot be compared by their outcome; "" where only conditions differ."""
    pair = (one, other)
    said = [
        f"Run {e.folder.name} was stopped after {e.steps} steps, so whether it would have "
        "succeeded is unknown."
        for e in pair
        if e.state == "stopped"
    ]
    if one.limit != other.limit:
        limits = " and ".join(f"run {e.folder.name} {e.limit}" for e in pair)
        said.append(f"The step limits differ: {limits}.")
    different = [
        word
        for word, field in STARTS.items()
        if getattr(one.spec, field) != getattr(other.spec, field)
    ]
    if different:
        said.append(f"The runs differ in more than conditions: {', '.join(different)}.")
    return " ".join(said)


class Form:
    """The form: its buttons are `start` and `stop`.

    Args:
        folder: where episodes are recorded, as `001`, `002` and so on.
        session: keeps policy and simulator, which nothing loads yet; None makes one.

    Attributes:
        box: the widget to display.
        inputs: what chooses the next episode.
        episodes: every episode so far, the latest last.
    """

    def __init__(self, folder: Path, session: Session | None = None) -> None:
        self.folder = folder
        self.session = session or Session()
        self.episodes: list[LiveEpisode] = []
        self._make_outputs()
        self.inputs = Inputs(self._changed)
        self._changed()
        buttons = w.HBox([self.start_button, self.stop_button, self.together])
        outputs = [self.progress, self.status, self.pictures, self.result]
        self.box = w.VBox([self.inputs.box, self.code, buttons, *outputs])

    def _make_outputs(self) -> None:
        self.start_button = w.Button(description="Run", button_style="primary", icon="play")
        self.start_button.on_click(lambda _: self.start())
        self.stop_button = w.Button(description="Stop", icon="stop", disabled=True)
        self.stop_button.on_click(lambda _: self.stop())
        self.progress = w.IntProgress(max=1, layout=w.Layout(width="100%"))
        self.status = w.HTML()
        self.code = w.HTML()
        self.camera = w.Image(format="jpeg", width=224, height=224)
        self.seen = w.Image(format="jpeg", width=224, height=224)
        left = w.VBox([self.camera, w.HTML("the camera, turned upright")])
        right = w.VBox([self.seen, w.HTML("what the policy sees")])
        layout = w.Layout(flex_flow="row wrap", grid_gap="0.5rem", display="none")
        self.pictures = w.HBox([left, right], layout=layout)
        text = "compare with the last run"
        self.together = w.Checkbox(description=text, value=True, indent=False)
        self.together.observe(lambda _: self._show_result(), "value")
        self.result = w.VBox()

    @property
    def busy(self) -> bool:
        """Whether an episode runs."""
        return bool(self.episodes) and not self.episodes[-1].ended

    def start(self) -> None:
        """What the button Run does."""
        if self.busy:
            return
        folder = _next_folder(self.folder)
        episode = LiveEpisode(self.inputs.spec, folder, self.session, self._watch)
        self.episodes.append(episode)
        self.result.children = ()
        try:
            episode.start()
        except TutorialError as e:
            self.episodes.pop()
            self._say(str(e), wrong=True)

    def stop(self) -> None:
        """What the button Stop does: the episode ends after its present step."""
        if self.busy:
            self.stop_button.disabled = True
            self.episodes[-1].stop()

    def _changed(self) -> None:
        """Show the code of what is chosen. Conditions that contradict each other are an error."""
        self._show_code()
        problem = ""
        try:
            self.inputs.spec.settings()
        except TutorialError as e:
            problem = str(e)
        self.start_button.disabled = bool(problem) or self.busy
        if not self.busy:
            self._say(problem, wrong=True)

    def _show_code(self) -> None:
        spec = self.inputs.spec
        folder = _next_folder(self.folder)
        lines = (spec.command(folder), f"import vla_tutorial.lab; {spec.python(folder)}")
        style = "white-space: pre-wrap; margin: 0.3em 0"
        shown = [f'<pre style="{style}">{html.escape(line)}</pre>' for line in lines]
        self.code.value = "The same in one line of shell, or of Python:" + "".join(shown)

    def _say(self, text: str, wrong: bool = False) -> None:
        shown = html.escape(text)
        if wrong and text:
            shown = f"<b>Cannot run:</b> {shown}"
        role = "alert" if wrong else "status"
        self.status.value = f'<div role="{role}">{shown}</div>'

    def _watch(self, episode: LiveEpisode) -> None:
        """Follow an episode; called in the session's thread."""
        self.progress.max = episode.limit
        self.progress.value = episode.steps
        due = episode.steps % EVERY == 1 or episode.ended
        step = episode.latest
        if due and step is not None:
            self.camera.value = jpeg(orient(step.observation.image, "rotate_180"))
            self.seen.value = jpeg(step.pixels)
            self.pictures.layout.display = None
        if due or not episode.steps:
            self._say(progress_sentence(episode), wrong=episode.state == "error")
        if episode.steps <= 1 or episode.ended:
            self.start_button.disabled = not episode.ended
            self.stop_button.disabled = episode.ended
        if episode.ended:
            self._show_code()
            self._show_result()

    def _show_result(self) -> None:
        """The last episode, or the last two, in place of the live pictures."""
        self.result.children = ()
        self.pictures.layout.display = None if self.busy else "none"
        done = [episode for episode in self.episodes if episode.result is not None]
        if done and not self.busy:
            wanted = 2 if self.together.value else 1
            shown = done[-wanted:]
            warning = compared(*shown) if len(shown) == 2 else ""
            note = [w.HTML(f'<p role="note">{html.escape(warning)}</p>')] if warning else []
            self.result.children = (*note, show_player(shown))


def _next_folder(folder: Path) -> Path:
    """The first of `001`, `002` … that holds no episode."""
    taken = {int(p.parent.name) for p in folder.glob("[0-9][0-9][0-9]/episode.json")}
    return folder / f"{max(taken, default=0) + 1:03d}"


def lab(folder: str | Path = "out/lab") -> w.VBox:
    """The form, to be the last line of a cell in JupyterLab. It records episodes in `folder`."""
    return Form(Path(folder)).box
