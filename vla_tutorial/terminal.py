"""What commands share: the terminal's two streams, a progress bar, and Ctrl-C."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

err = Console(stderr=True)
out = Console()


def progress_bar() -> Progress:
    """Description, bar, count and time, on stderr."""
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=err)


class Interrupt:
    """Ctrl-C that cannot get lost: what is raised inside a destructor or a library's `finally: continue` is swallowed, so steps ask again."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _signal: int, _frame: object) -> None:
        """The signal's handler."""
        self.asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise if Ctrl-C was pressed at any time."""
        if self.asked:
            raise KeyboardInterrupt


interrupt = Interrupt()
