"""The player as a widget. Import this only where anywidget (extra `[book]`) is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

Answer = Callable[[str], tuple[dict[str, Any], list[bytes]]]
"""Key of an episode → the message and the buffers that answer the script's request."""

FOLDER = Path(__file__).parent

# The website loads the same script, which therefore is no module and exports nothing by itself.
RENDER = "export default { render: ({ model, el }) => globalThis.VlaPlayer.live(model, el) };\n"


class LivePlayer(anywidget.AnyWidget):  # type: ignore[misc]
    """Plays the episodes of an index; `answer` is called when the reader chooses one."""

    _esm = (FOLDER / "player.js").read_text("utf-8") + RENDER
    _css = (FOLDER / "player.css").read_text("utf-8")
    index = traitlets.Dict().tag(sync=True)
    options = traitlets.Dict().tag(sync=True)

    def __init__(self, index: dict[str, Any], options: dict[str, Any], answer: Answer) -> None:
        super().__init__(index=index, options=options)
        self._answer = answer
        self._keys = {entry["key"] for entry in index["episodes"]}
        self.on_msg(self._on_message)

    def _on_message(self, _widget: Any, content: Mapping[str, Any], _buffers: Any) -> None:
        key = content.get("key")
        # Keys become paths, so only those of the index are answered.
        if content.get("type") == "want" and key in self._keys:
            message, buffers = self._answer(str(key))
            self.send(message, buffers=buffers)
