"""The player: two recorded episodes side by side, in JupyterLab and on the website from one cell.

    from vla_tutorial.player import Player, show_episodes
    Player(task=0, left=(), right=("wrong_unnorm_key",))     # clips of `vla-tutorial clips`
    show_episodes("out/published", "out/no_flip")            # folders of `vla-tutorial rollout`

As the last line of a cell both show themselves: in JupyterLab as a live widget, on the website as
a placeholder that `player.js` brings to life, without JavaScript as a table with still pictures.

The website (`_config.yml`) has clips at `_static/<task>_<init>/<name>/` and their index at
`_static/manifest.js`, which player.js finds from its own address. A page without Python writes
`<div class="vla-player" data-vla-player data-task="0" data-init="0" data-left="…"></div>`.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vla_tutorial import recorded
from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.decoding import is_file, printable, read_bytes, script_json
from vla_tutorial.errors import TutorialError
from vla_tutorial.player.clip_script import ClipIndex, read_clip_script
from vla_tutorial.player.clips import clip_key, in_catalogue_order, index_entry
from vla_tutorial.player.display import Display, Media
from vla_tutorial.player.episode_data import episode_data
from vla_tutorial.spec import EpisodeSpec

CLIP_MEDIA = {
    "video": ("episode.mp4", "video/mp4"),
    "poster": ("poster.webp", "image/webp"),
    "end": ("end.webp", "image/webp"),
}
"""What a clip's folder holds for the player: name → (file, MIME type)."""

MOST_MEDIA = 64 * 2**20
"""Bytes of a video or picture that travels inside a page. An episode's video has about 200 kB."""

MOST_PIXELS = 4096
"""Pixels of a picture's side. A policy's picture has 224."""

COMMAND = "vla-tutorial clips --out book/clips"


class Player(Display):
    """Recorded clips with a switch for every condition.

    Args:
        clips: folder of `vla-tutorial clips`; None looks for `book/clips` here and above, and then
            takes the clips that ship with the package.
        task, init: numbers of the task and of the saved initial state that are shown first.
        left, right: names of the conditions that are on at first; () is the published wiring.
        static: where the website keeps the clips, seen from the page. Pages lie one folder deep.

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
        self.clips = _find_clips(clips)
        self.static = static.rstrip("/")
        self.index = read_clip_script(self.clips / "manifest.js", ClipIndex)
        self.options = {"task": task, "init": init, "left": list(left), "right": list(right)}
        here = f"{task}_{init}/"
        self.listed = [entry for entry in self.index["episodes"] if entry["key"].startswith(here)]
        self._check_clip(left)
        self._check_clip(right)

    def __repr__(self) -> str:
        left = "+".join(self.options["left"]) or PUBLISHED
        right = "+".join(self.options["right"]) or PUBLISHED
        count = len(self.index["episodes"])
        return f"Player of {count} clips (task {self.options['task']}: {left} | {right})"

    def _check_clip(self, names: Sequence[str]) -> None:
        task = self.options["task"]
        init = self.options["init"]
        clip = EpisodeSpec(task=task, init=init, conditions=in_catalogue_order(names))
        if clip_key(clip) not in [entry["key"] for entry in self.listed]:
            also = f" --also {clip.condition}" if names else ""
            raise TutorialError(
                f"There is no clip of {clip.condition} for task {task}, initial state {init} in "
                f"{self.clips}. Make it with: {COMMAND} --tasks {task} --init {init}{also}"
            )

    def _still(self, entry: Mapping[str, Any], name: str) -> str:
        return f"{self.static}/{entry['key']}/{name}.webp"

    def _episode(self, key: str) -> tuple[dict[str, Any], Media]:
        folder = self.clips / key
        media = {}
        for name, (file, kind) in CLIP_MEDIA.items():
            path = folder / file
            if is_file(path):
                media[name] = (kind, read_bytes(path, f"Make it again with: {COMMAND}", MOST_MEDIA))
        return read_clip_script(folder / "episode.js"), media


class Episodes(Display):
    """Freshly recorded episodes; see `show_episodes`."""

    def __init__(self, folders: Sequence[Path], labels: Sequence[str]) -> None:
        if not folders or len(labels) != len(folders):
            raise TutorialError(
                f"{len(folders)} folders and {len(labels)} labels were given. "
                "Expected at least one folder, and one label for each folder."
            )
        self.options = {"sides": min(2, len(folders))}
        self.data: dict[str, dict[str, Any]] = {}
        self.media: dict[str, Media] = {}
        self._encoded: dict[str, dict[str, str]] = {}
        self.listed = []
        for number, (folder, label) in enumerate(zip(folders, labels, strict=True)):
            key = str(number)
            data = episode_data(folder)
            media = _recorded_media(folder)
            self.data[key] = data
            self.media[key] = media
            self._encoded[key] = {n: b64encode(found).decode() for n, (_, found) in media.items()}
            self.listed.append({"label": label, **index_entry({"key": key, **data})})
        self.index = {"conditions": [], "episodes": self.listed}

    def __repr__(self) -> str:
        return f"Player of {', '.join(entry['label'] for entry in self.listed)}"

    def _episode(self, key: str) -> tuple[dict[str, Any], Media]:
        return self.data[key], self.media[key]

    def _still(self, entry: Mapping[str, Any], name: str) -> str | None:
        encoded = self._encoded[entry["key"]].get(name)
        return f"data:image/webp;base64,{encoded}" if encoded else None

    def _inline(self) -> str:
        everything = {"index": self.index, "episodes": self.data, "media": self._encoded}
        return f'<script type="application/json">{script_json(everything)}</script>'


def show_episodes(*folders: Path | str, labels: Sequence[str] = ()) -> Episodes:
    """The player for freshly recorded episode folders, one or more, with all data inside.

    Args:
        folders: as `record_episode` writes them; incomplete ones are shown as such.
        labels: what the reader calls them; by default the names of the folders.

    Raises:
        TutorialError: a folder holds no episode, a file of it is damaged or larger than
            `MOST_MEDIA`, or there are more or fewer labels than folders.
    """
    paths = [Path(folder) for folder in folders]
    names = [path.resolve().name for path in paths]
    return Episodes(paths, [printable(label) for label in list(labels) or names])


def _recorded_media(folder: Path) -> Media:
    media = {}
    remedy = "Run the episode again."
    video = folder / "episode.mp4"
    if is_file(video):
        media["video"] = ("video/mp4", read_bytes(video, remedy, MOST_MEDIA))
    picture = folder / "agentview.png"
    if is_file(picture):
        try:
            small = _as_webp(read_bytes(picture, remedy, MOST_MEDIA))
        # Pillow's readers raise all of these where a file is damaged.
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
            raise TutorialError(f"{picture} is not a picture ({e}). {remedy}") from e
        media["poster"] = ("image/webp", small)
    return media


def _as_webp(picture: bytes) -> bytes:
    opened = Image.open(io.BytesIO(picture))
    if max(opened.size) > MOST_PIXELS:
        raise ValueError(f"{opened.size[0]} by {opened.size[1]} pixels are too many")
    small = io.BytesIO()
    opened.save(small, "webp", quality=80)
    return small.getvalue()


def _find_clips(clips: Path | str | None) -> Path:
    """The folder given, or else `book/clips` here or in a folder above, or what ships."""
    here = Path.cwd()
    candidates = [folder / "book/clips" for folder in (here, *here.parents)]
    candidates.append(recorded.CLIPS)
    if clips:
        candidates = [Path(clips)]
    for folder in candidates:
        if (folder / "manifest.js").is_file():
            return folder
    raise TutorialError(
        f"{clips or 'book/clips, here or in a folder above,'} holds no manifest.js. "
        f"Make the clips with: {COMMAND}"
    )
