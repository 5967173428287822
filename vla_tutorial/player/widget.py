"""The player's live half: an anywidget whose script, the same as on the website, asks the kernel for an episode when it needs one."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from vla_tutorial.errors import TutorialError

Media = Mapping[str, tuple[str, bytes]]
"""Video and stills of an episode: name → (MIME type, content). What is missing on the disk is missing here, and the player says so."""

Fetch = Callable[[str], tuple[Mapping[str, Any] | None, Media]]
"""Key → data (`episode_data`) and media of an episode; raises TutorialError when they cannot be read."""


def has_anywidget() -> bool:
    """Whether anywidget, which only the extra [book] brings, is installed."""
    return importlib.util.find_spec("anywidget") is not None


def live_widget(index: Mapping[str, Any], options: Mapping[str, Any], fetch: Fetch) -> Any:
    """An `anywidget.AnyWidget` that plays the episodes of `index`.

    Args:
        index: what `clips.index` describes.
        options: task, init, left and right, as `VlaPlayer.mount` takes them.
        fetch: called with a key of the index when the reader chooses an episode.

    Raises:
        TutorialError: anywidget is not installed.
    """
    if not has_anywidget():
        raise TutorialError(
            "The live player needs anywidget: pip install anywidget (or this package's extra [book]), then restart the kernel."
        )
    anywidget, traitlets = (
        importlib.import_module("anywidget"),
        importlib.import_module("traitlets"),
    )
    static = resources.files("vla_tutorial") / "player"
    start = "export default { render: ({ model, el }) => globalThis.VlaPlayer.live(model, el) };\n"
    members = {
        "__module__": __name__,
        "_esm": (static / "player.js").read_text("utf-8") + start,
        "_css": (static / "player.css").read_text("utf-8"),
        "index": traitlets.Dict().tag(sync=True),
        "options": traitlets.Dict().tag(sync=True),
    }
    widget = type("LivePlayer", (anywidget.AnyWidget,), members)(
        index=dict(index), options=dict(options)
    )
    known = {entry["key"] for entry in index["episodes"]}

    def answer(_widget: Any, content: Mapping[str, Any], _buffers: Any) -> None:
        if content.get("type") == "want" and content.get("key") in known:  # keys become paths
            message, buffers = reply(str(content["key"]), fetch)
            widget.send(message, buffers=buffers)

    widget.on_msg(answer)
    return widget


def reply(key: str, fetch: Fetch) -> tuple[dict[str, Any], list[bytes]]:
    """The message and the buffers that answer the script's question for `key`; an error is told in the message."""
    try:
        data, media = fetch(key)
    except (TutorialError, OSError) as e:
        return {"type": "episode", "key": key, "media": [], "error": str(e)}, []
    kinds = [[name, kind] for name, (kind, _) in media.items()]
    return {"type": "episode", "key": key, "data": data, "media": kinds}, [
        content for _, content in media.values()
    ]
