"""What both kinds of player share: the live widget, and HTML that works without a kernel."""

from __future__ import annotations

import html
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.errors import TutorialError

Media = Mapping[str, tuple[str, bytes]]
"""Video and stills of an episode: name → (MIME type, content). A missing file is left out."""

WAIT = (
    "The player needs its script. On the website it comes by itself; "
    "in JupyterLab: pip install anywidget, and restart the kernel."
)

STILLS = {
    "poster": "First picture that the policy was given",
    "end": "The camera at the end of the episode",
}
"""Still pictures of an episode, and how they are described to those who do not see them."""


def has_anywidget() -> bool:
    """Whether anywidget, which only the extra [book] brings, is installed."""
    return importlib.util.find_spec("anywidget") is not None


class Display(ABC):
    """A player in a notebook or on a page.

    `index` is as `clips.clip_index` makes it, `listed` are the entries of it that the table lists,
    `options` are what `VlaPlayer.mount` takes.
    """

    index: dict[str, Any]
    listed: list[dict[str, Any]]
    options: dict[str, Any]
    _live: Any = None

    def html(self) -> str:
        """Placeholder for the website, with a table and stills for browsers without JavaScript."""
        attributes = [f' data-{key}="{_attribute(value)}"' for key, value in self.options.items()]
        return (
            f'<div class="vla-player" data-vla-player{"".join(attributes)}>'
            f'<p class="vla-wait">{WAIT}</p>'
            f"<noscript>{self._table()}</noscript>{self._inline()}</div>"
        )

    def widget(self) -> Any:
        """The live widget, the same at each call. It needs `anywidget` (extra `[book]`)."""
        if not has_anywidget():
            raise TutorialError(
                "The live player needs anywidget: pip install anywidget (or this package's extra "
                "[book]), then restart the kernel."
            )
        if self._live is None:
            from vla_tutorial.player.live_player import LivePlayer

            self._live = LivePlayer(self.index, self.options, self.answer)
        return self._live

    def answer(self, key: str) -> tuple[dict[str, Any], list[bytes]]:
        """What answers the script's request for an episode of the index.

        Returns:
            The message: type, key, media (a list of [name, MIME type]) and data (`episode_data`),
            or error in place of data where the episode cannot be read. And the content of the
            media, a buffer each, in the same order.
        """
        message: dict[str, Any] = {"type": "episode", "key": key}
        try:
            data, media = self._episode(key)
        except (TutorialError, OSError) as e:
            return message | {"media": [], "error": str(e)}, []
        kinds = [[name, kind] for name, (kind, _) in media.items()]
        buffers = [content for _, content in media.values()]
        return message | {"data": data, "media": kinds}, buffers

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle: dict[str, Any] = {}
        if has_anywidget():
            found = self.widget()._repr_mimebundle_()
            # Some versions of anywidget return (data, metadata), others data alone or None.
            live = found[0] if isinstance(found, tuple) else found
            bundle.update(live or {})
        return bundle | {"text/html": self.html(), "text/plain": repr(self)}, {}

    @abstractmethod
    def _episode(self, key: str) -> tuple[dict[str, Any], Media]:
        """Data (`episode_data`) and media of an episode of the index."""

    @abstractmethod
    def _still(self, entry: Mapping[str, Any], name: str) -> str | None:
        """URL of a still picture, or None where there is none."""

    def _inline(self) -> str:
        """What the placeholder carries inside: nothing, unless a player overrides it."""
        return ""

    def _table(self) -> str:
        rows = "".join(self._row(entry) for entry in self.listed)
        instruction = html.escape(self.listed[0]["instruction"])
        return (
            f'<table class="vla-table"><caption>“{instruction}”</caption>'
            "<tr><th scope=col>Episode<th scope=col>The policy’s first picture"
            f"<th scope=col>The camera at the end<th scope=col>What is seen</tr>{rows}</table>"
        )

    def _row(self, entry: Mapping[str, Any]) -> str:
        label = entry.get("label") or " + ".join(entry["conditions"]) or PUBLISHED
        name = html.escape(str(label))
        cells = []
        for still, description in STILLS.items():
            url = self._still(entry, still)
            shown = "–"
            if url:
                source = f'src="{html.escape(url)}" alt="{description}: {name}"'
                shown = f'<img {source} width="96" height="96" loading="lazy">'
            cells.append(f"<td>{shown}")
        caption = html.escape(entry["caption"])
        return f"<tr><th scope=row>{name}{''.join(cells)}<td>{caption}</tr>"


def _attribute(value: int | list[str]) -> str:
    """An option as an attribute of HTML; names of conditions are joined with "+"."""
    return html.escape("+".join(value) if isinstance(value, list) else str(value))
