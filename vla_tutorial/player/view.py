"""The player: two recorded episodes side by side, live in JupyterLab and on the static website from one notebook cell.

    from vla_tutorial.player.view import Player, show_episodes
    Player(task=0, left=(), right=("wrong_unnorm_key",))          # recorded clips: `vla-tutorial clips --out book/clips`
    show_episodes("out/published", "out/no_flip")                 # folders as `vla-tutorial rollout` writes them

Both objects have the same surface:

- as the last line of a cell they display themselves: in JupyterLab as a live widget (needs `anywidget`, extra `[book]`), on the website as
  a placeholder that `player/player.js` brings to life, and without JavaScript as a table with still pictures;
- `.widget()` is the live widget, for an `ipywidgets` box;
- `.html()` is the placeholder and the table as text.

The website needs `html_static_path = [".../book/clips", "vla_tutorial/player/player.js", …]`, `html_js_files = ["player.js"]`,
`html_css_files = ["player.css"]` and `nb_mime_priority_overrides = [["html", "text/html", 5]]`: clips then lie at
`_static/<task>_<init>/<name>/` and their index at `_static/manifest.js`, which player.js finds from its own address. A page without Python
writes `<div class="vla-player" data-vla-player data-task="0" data-init="0" data-left="" data-right="no_flip+wrong_prompt"></div>`.
"""

from __future__ import annotations

import base64
import html
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vla_tutorial.conditions import CATALOGUE, PUBLISHED, find
from vla_tutorial.errors import TutorialError
from vla_tutorial.player.clips import read
from vla_tutorial.player.episode_data import episode_data
from vla_tutorial.player.widget import Media, has_anywidget, live_widget

_TYPES = {
    "video": ("episode.mp4", "video/mp4"),
    "poster": ("poster.webp", "image/webp"),
    "end": ("end.webp", "image/webp"),
}
_MAKE = "Make the clips with: vla-tutorial clips --out book/clips"


class _Display(ABC):
    """What both kinds of player share. `index` is what `clips.index` describes; `options` is what `VlaPlayer.mount` gets."""

    index: dict[str, Any]
    options: dict[str, Any]
    _live: Any = None

    def html(self) -> str:
        """Placeholder for the website, with a table and stills for browsers without JavaScript."""
        attributes = "".join(
            f' data-{key}="{html.escape(self._attribute(value))}"'
            for key, value in self.options.items()
        )
        wait = "The player needs its script. On the website it comes by itself; in JupyterLab: pip install anywidget, and restart the kernel."
        return (
            f'<div class="vla-player" data-vla-player{attributes}><p class="vla-wait">{wait}</p>'
            f"<noscript>{self._table()}</noscript>{self._inline()}</div>"
        )

    def widget(self) -> Any:
        """The live widget (an `anywidget.AnyWidget`), the same at each call. Raises TutorialError without anywidget."""
        if self._live is None:
            self._live = live_widget(self.index, self.options, self._episode)
        return self._live

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle: dict[str, Any] = {}
        if has_anywidget():
            found = self.widget()._repr_mimebundle_()
            bundle |= (found[0] if isinstance(found, tuple) else found) or {}
        return bundle | {"text/html": self.html(), "text/plain": repr(self)}, {}

    @staticmethod
    def _attribute(value: object) -> str:
        return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    @abstractmethod
    def _episode(self, key: str) -> tuple[dict[str, Any] | None, Media]: ...

    def _inline(self) -> str:
        return ""

    def _rows(self) -> list[dict[str, Any]]:
        return list(self.index["episodes"])

    @abstractmethod
    def _still(self, entry: Mapping[str, Any], name: str) -> str | None: ...

    def _table(self) -> str:
        rows = "".join(self._row(entry) for entry in self._rows())
        head = "<th scope=col>Episode<th scope=col>The policy’s first picture<th scope=col>The camera at the end<th scope=col>What is seen"
        return f'<table class="vla-table"><caption>“{html.escape(self._rows()[0]["instruction"])}”</caption><tr>{head}</tr>{rows}</table>'

    def _row(self, entry: Mapping[str, Any]) -> str:
        name = html.escape(str(entry.get("label") or " + ".join(entry["conditions"]) or PUBLISHED))
        cells = []
        for still, alt in (
            ("poster", "First picture that the policy was given"),
            ("end", "The camera at the end of the episode"),
        ):
            url = self._still(entry, still)
            cells.append(
                f'<img src="{html.escape(url)}" alt="{alt}: {name}" width="96" height="96" loading="lazy">'
                if url
                else "–"
            )
        return f"<tr><th scope=row>{name}<td>{cells[0]}<td>{cells[1]}<td>{html.escape(entry['caption'])}</tr>"


class Player(_Display):
    """Recorded clips with a switch for every condition.

    Args:
        clips: folder of `vla-tutorial clips`; None looks for `book/clips` here and in the folders above.
        task, init: which task and saved initial state are shown first.
        left, right: names of the conditions that are on at first; () is the published wiring.
        static: where the website keeps the clips, seen from the page (pages lie one folder deep).

    Raises:
        TutorialError: there are no clips, or no clip of that task or of those conditions.
    """

    def __init__(
        self,
        clips: Path | str | None = None,
        task: int = 0,
        left: Sequence[str] = (),
        right: Sequence[str] = ("wrong_unnorm_key",),
        *,
        init: int = 0,
        static: str = "../_static",
    ) -> None:
        self.clips, self.static = _find(clips), static.rstrip("/")
        self.index = read(self.clips / "manifest.js")
        self.options = {"task": task, "init": init, "left": list(left), "right": list(right)}
        if not self._rows():
            raise TutorialError(
                f"There are no clips of task {task}, initial state {init} in {self.clips}. {_MAKE} --tasks {task} --init {init}"
            )
        for names in (left, right):
            self._check(names)

    def __repr__(self) -> str:
        left, right = ("+".join(self.options[side]) or PUBLISHED for side in ("left", "right"))
        return f"Player of {len(self.index['episodes'])} clips (task {self.options['task']}: {left} | {right})"

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            find(name)
        if set(names) not in [set(entry["conditions"]) for entry in self._rows()]:
            wanted = "+".join(sorted(names, key=list(CATALOGUE).index)) or PUBLISHED
            raise TutorialError(
                f"There is no clip of {wanted} for task {self.options['task']} in {self.clips}. {_MAKE} --also {wanted}"
            )

    def _rows(self) -> list[dict[str, Any]]:
        here = (self.options["task"], self.options["init"])
        return [entry for entry in self.index["episodes"] if (entry["task"], entry["init"]) == here]

    def _still(self, entry: Mapping[str, Any], name: str) -> str:
        return f"{self.static}/{entry['key']}/{name}.webp"

    def _episode(self, key: str) -> tuple[dict[str, Any] | None, Media]:
        folder = self.clips / key
        media = {
            name: (kind, (folder / file).read_bytes())
            for name, (file, kind) in _TYPES.items()
            if (folder / file).is_file()
        }
        return read(folder / "episode.js"), media


class Episodes(_Display):
    """Freshly recorded episodes; see `show_episodes`."""

    def __init__(self, folders: Sequence[Path], labels: Sequence[str]) -> None:
        if not folders or len(labels) != len(folders):
            raise TutorialError(
                f"{len(folders)} folders and {len(labels)} labels were given; expected one label a folder, and a folder at least."
            )
        self.options = {"sides": min(2, len(folders))}
        self.data = {str(number): episode_data(folder) for number, folder in enumerate(folders)}
        self.media = {str(number): _recorded(folder) for number, folder in enumerate(folders)}
        shown = (
            "task",
            "init",
            "instruction",
            "conditions",
            "success",
            "steps",
            "first_close",
            "caption",
            "changes",
        )
        episodes = [
            {"key": k, "label": label, **{name: self.data[k][name] for name in shown}}
            for k, label in zip(self.data, labels, strict=True)
        ]
        self.index = {"conditions": [], "episodes": episodes}

    def __repr__(self) -> str:
        return f"Player of {', '.join(entry['label'] for entry in self.index['episodes'])}"

    def _episode(self, key: str) -> tuple[dict[str, Any] | None, Media]:
        return self.data[key], self.media[key]

    def _still(self, entry: Mapping[str, Any], name: str) -> str | None:
        kind, content = self.media[entry["key"]].get(name, ("", b""))
        return f"data:{kind};base64,{base64.b64encode(content).decode()}" if content else None

    def _inline(self) -> str:
        media = {
            key: {name: base64.b64encode(content).decode() for name, (_, content) in found.items()}
            for key, found in self.media.items()
        }
        everything = json.dumps(
            {"index": self.index, "episodes": self.data, "media": media}, separators=(",", ":")
        )
        return f'<script type="application/json">{everything.replace("</", "<" + chr(92) + "/")}</script>'


def show_episodes(*folders: Path | str, labels: Sequence[str] = ()) -> Episodes:
    """The player for freshly recorded episode folders, one or more; everything is inside the display, nothing is looked up later.

    Args:
        folders: as `record_episode` writes them; incomplete ones are shown as such.
        labels: what the reader calls them; by default the names of the folders.

    Raises:
        TutorialError: a folder holds no episode, or the number of labels differs from the number of folders.
    """
    paths = [Path(folder) for folder in folders]
    return Episodes(paths, list(labels) or [path.resolve().name for path in paths])


def _recorded(folder: Path) -> dict[str, tuple[str, bytes]]:
    media = {}
    if (video := folder / "episode.mp4").is_file():
        media["video"] = ("video/mp4", video.read_bytes())
    if (picture := folder / "agentview.png").is_file():
        small = io.BytesIO()
        Image.open(picture).save(small, "webp", quality=80)
        media["poster"] = ("image/webp", small.getvalue())
    return media


def _find(clips: Path | str | None) -> Path:
    here = Path.cwd()
    places = (
        [Path(clips)]
        if clips
        else [p / "book/clips" for p in (here, *here.parents, Path(__file__).parent.parent)]
    )
    found = next((p for p in places if (p / "manifest.js").is_file()), None)
    if found is None:
        raise TutorialError(
            f"{clips or 'book/clips, here or in a folder above,'} holds no manifest.js. {_MAKE}"
        )
    return found
