"""A web server for the site, with the headers that let the live page use several threads.

    python vla_tutorial/live/server.py _build/html --port 8000

It needs only the standard library, and serves this computer alone. `make serve` runs it, and the
widget of `live.Live` keeps one while it is shown.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOCAL = "127.0.0.1"

ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    # Notebooks show the page in a frame of another origin, which must then be allowed to load it.
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}
"""With the first two a browser allows shared memory, which threads of WebAssembly need."""

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)
"""The live page asks no other host and evaluates no text. Its workers obey only this header."""

MARK = "engine_worker.js"
"""A folder with this file is the live page's."""


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; what is below the live page gets its Content-Security-Policy too."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".webp": "image/webp",
    }

    def end_headers(self) -> None:
        """Add the headers to every answer."""
        for name, value in ISOLATION.items():
            self.send_header(name, value)
        if self._is_live():
            self.send_header("Content-Security-Policy", POLICY)
        # What was built again must not be taken from a browser's memory.
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def _is_live(self) -> bool:
        root = Path(self.directory).resolve()
        asked = Path(self.translate_path(self.path)).resolve()
        folders = [folder for folder in (asked, *asked.parents) if folder.is_relative_to(root)]
        return any((folder / MARK).is_file() for folder in folders)

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""


def make_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of `folder` for this computer; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    return ThreadingHTTPServer((LOCAL, port), partial(Handler, directory=str(folder)))


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    try:
        server = make_server(given.folder, given.port)
    except OSError as e:
        sys.exit(f"Port {given.port} cannot be used ({e}). Choose another one, e.g. PORT=8001.")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
