"""The live page inside a notebook, driven from Python. Needs anywidget, and no torch.

    from vla_tutorial.live import Live
    live = Live(task=0, conditions=["no_flip"])
    live                 # as the last line of a cell: the page
    live.table()         # its log as a pandas table

The page is the one that `vla-tutorial live build` makes. A small server of this kernel shows it in
a frame, and the page tells the kernel each step.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import anywidget
import traitlets

from vla_tutorial import __version__
from vla_tutorial.diagnose import Diagnosis, diagnose
from vla_tutorial.errors import TutorialError
from vla_tutorial.live.server import LOCAL, make_server
from vla_tutorial.log import Log, log_of

PLACES = ("_build/html/live", "_build/live")
"""Where the page is looked for, here and in the folders above."""

BUILD = "vla-tutorial live build --out _build/live"

SIDES = ("A", "B")


class Live(anywidget.AnyWidget):  # type: ignore[misc]
    """The page in a notebook's cell.

    Args:
        task: number of the task within the suite.
        conditions: names of conditions that are on.
        init: number of the saved initial state, 0 to 49.
        instruction: what the policy is told; None takes the task's sentence.
        beside: conditions of a second run from the same start; None shows one run alone. The
            second run is side "A", as in the page, and `conditions` are side "B".
        suite: whose task it is; the page says so where it was built without it.
        policy: which one acts; the second run has `mini`.
        run: whether it begins at once; else a button does.
        folder: what `vla-tutorial live build` made; None looks for it here and above.

    Raises:
        TutorialError: the page has not been built.
    """

    _esm = Path(__file__).parent / "page" / "widget.js"
    address = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(760).tag(sync=True)
    _server: ThreadingHTTPServer | None = None

    def __init__(
        self,
        task: int = 0,
        conditions: Sequence[str] = (),
        *,
        init: int = 0,
        instruction: str | None = None,
        beside: Sequence[str] | None = None,
        suite: str = "libero_object",
        policy: str = "mini",
        run: bool = False,
        folder: Path | str | None = None,
    ) -> None:
        server = make_server(_find_page(folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._server = server
        asked = _link(suite, task, init, conditions, instruction, beside, policy)
        # A message would come before the page that should hear it.
        begin = "&run=1" if run else ""
        address = f"{_root(server.server_port)}index.html?embed=1#{asked}{begin}"
        super().__init__(address=address)
        self._lines: dict[str, list[Mapping[str, Any]]] = {side: [] for side in SIDES}
        self.on_msg(self._hear)

    def _hear(self, _widget: Any, message: Mapping[str, Any], _buffers: Any) -> None:
        side = message.get("side")
        if side not in self._lines:
            return
        if message.get("type") == "begin":
            self._lines[side] = []
        elif message.get("type") == "step" and isinstance(message.get("line"), dict):
            self._lines[side].append(message["line"])

    def play(self) -> None:
        """Begin, or go on."""
        self.send({"do": "play"})

    def pause(self) -> None:
        """Stop after the present step."""
        self.send({"do": "pause"})

    def restart(self) -> None:
        """From the same start again."""
        self.send({"do": "restart"})

    def choose(
        self,
        task: int = 0,
        conditions: Sequence[str] = (),
        *,
        init: int = 0,
        instruction: str | None = None,
        beside: Sequence[str] | None = None,
        suite: str = "libero_object",
        policy: str = "mini",
    ) -> None:
        """Another experiment in the same page; arguments as for the class."""
        link = _link(suite, task, init, conditions, instruction, beside, policy)
        self.send({"do": "open", "link": link})

    def log(self, side: str = "A") -> Log:
        """What one side has done since its last start.

        Raises:
            TutorialError: nothing yet, or there is no such side.
        """
        return log_of(self._steps(side), f"side {side} of the live page")

    def table(self, side: str = "A") -> Any:
        """The same as a pandas table: a row a control step, a column a key of `steps.jsonl`.

        Raises:
            TutorialError: as `log`, or pandas is not installed.
        """
        try:
            import pandas
        except ImportError as e:
            raise TutorialError("The table needs pandas: pip install pandas.") from e
        return pandas.DataFrame(self._steps(side)).set_index("step")

    def diagnose(self, side: str = "A") -> Diagnosis:
        """Which boundary broke, judged from the log; raises as `log`."""
        return diagnose(self.log(side))

    def _steps(self, side: str) -> list[Mapping[str, Any]]:
        if side not in self._lines:
            raise TutorialError(f"There is no side {side!r}; the sides are A and B.")
        if not self._lines[side]:
            raise TutorialError(f"Side {side} has no step yet. Press “Run it here” in the page.")
        return list(self._lines[side])

    def close(self) -> None:
        """Take the page down, and its server."""
        server = self._server
        # The base class closes objects whose making failed, too.
        if server is not None:
            self._server = None
            server.shutdown()
            server.server_close()
        super().close()


def _find_page(folder: Path | str | None) -> Path:
    here = Path.cwd()
    candidates = [above / place for above in (here, *here.parents) for place in PLACES]
    if folder:
        candidates = [Path(folder)]
    for candidate in candidates:
        if (candidate / "data" / "manifest.json").is_file():
            return candidate
    where = folder or "_build, here or in a folder above,"
    raise TutorialError(f"{where} holds no live page. Build it with: {BUILD}")


def _root(port: int) -> str:
    """The server's address as the reader's browser reaches it."""
    hub = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if hub:
        # On a hub the browser is on another computer; jupyter-server-proxy leads to the port.
        return f"{hub}proxy/{port}/"
    return f"http://{LOCAL}:{port}/"


def _link(
    suite: str,
    task: int,
    init: int,
    conditions: Sequence[str],
    instruction: str | None,
    beside: Sequence[str] | None,
    policy: str,
) -> str:
    """The link's part behind "#", as `page/share.js` reads it."""
    asked = {"v": "2", "from": __version__, "suite": suite, "task": str(task), "init": str(init)}
    mine = "a"
    if beside is not None:
        asked["a"] = ".".join(beside)
        mine = "b"
    asked[mine] = ".".join(conditions)
    asked[f"policy_{mine}"] = policy
    if instruction is not None:
        asked[f"say_{mine}"] = instruction
    return urlencode(asked, quote_via=quote)
