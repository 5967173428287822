"""What commands share: the terminal's two streams, a progress bar, and Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from vla_tutorial.loop import Step

UNHEALTHY = 1
"""Exit code: the doctor found something that spoils results."""

BAD_INPUT = 2
"""Exit code: an input or a setting that the user can fix."""

INTERRUPTED = 130
"""Exit code: Ctrl-C, as shells have it."""

err = Console(stderr=True)
out = Console()


def tell(console: Console, text: str) -> None:
    """Print one line of rich markup; the terminal folds it, so that it can be copied whole."""
    console.print(text, highlight=False, soft_wrap=True)


def progress_bar() -> Progress:
    """Description, bar, count and time, on stderr."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
    )


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


def advance(progress: Progress, bar: TaskID, what: str, step: Step, limit: int) -> None:
    """Move the bar, and stop where Ctrl-C got lost."""
    progress.update(
        bar, description=what, completed=step.step + 1, total=step.step + 1 if step.done else limit
    )
    interrupt.check()
