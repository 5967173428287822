"""What commands share: exit codes, the terminal's two streams, a progress bar, and Ctrl-C."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn

if TYPE_CHECKING:
    from vla_tutorial.loop import Step

UNHEALTHY = 1
BAD_INPUT = 2
INTERRUPTED = 130
"""Exit codes: the doctor found a fault; the user can fix an input; Ctrl-C, as shells have it."""

err = Console(stderr=True)
out = Console()


def tell(console: Console, text: str) -> None:
    """Print one line of rich markup; the terminal folds it, so that it can be copied whole."""
    console.print(text, highlight=False, soft_wrap=True)


def progress_bar() -> Progress:
    """Description, bar, count and time, on stderr."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err)


class Interrupt:
    """Ctrl-C inside the `with` statement: it raises KeyboardInterrupt, and does not get lost.

    Python swallows an exception that is raised in a destructor or in a library's
    `finally: continue`. So each control step calls `check`, which raises it again.
    """

    def __init__(self, graceful: bool = False) -> None:
        """If `graceful`, the first press only sets `asked`, and the second one raises."""
        self._presses = 0
        self._harmless_presses = int(graceful)
        self._before: Any = None

    @property
    def asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._presses > 0

    def check(self, _progress: object = None) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed often enough."""
        if self._presses > self._harmless_presses:
            raise KeyboardInterrupt

    def _on_signal(self, _signal: int, _frame: object) -> None:
        self._presses += 1
        self.check()
        after = "no new episode starts; those in flight end and are recorded"
        tell(err, f"[yellow]Ctrl-C:[/] {after}. Press it again to stop now.")

    def __enter__(self) -> Self:
        # Python allows signal handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        self._presses = 0
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


interrupt = Interrupt()
"""Every command runs inside this one."""


def advance(progress: Progress, bar: TaskID, what: str, step: Step, limit: int) -> None:
    """Move the bar to a step of an episode, whose last step fills it; stop if Ctrl-C got lost."""
    taken = step.step + 1
    total = taken if step.done else limit
    progress.update(bar, description=what, completed=taken, total=total)
    interrupt.check()
