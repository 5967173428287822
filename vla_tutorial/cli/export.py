"""`vla-tutorial export`: recorded episodes in another tool's form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import out, tell
from vla_tutorial.errors import TutorialError


def export(
    episodes: Annotated[
        list[Path], typer.Argument(help="Folders of episodes, or of sweeps that kept videos.")
    ],
    to: Annotated[
        Literal["lerobot", "rerun"],
        typer.Option(help="lerobot: a data set, version 3. rerun: one recording for each episode."),
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="New folder for the export.")],
) -> None:
    """Write recorded episodes as a LeRobot data set, or as Rerun recordings.

    Example: `vla-tutorial export out/no_flip --to rerun --out out/rerun`
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise TutorialError(f"{out_dir} is not empty. Choose another folder with --out.")
    try:
        count = _write(_folders(episodes), to, out_dir)
    except ModuleNotFoundError as e:
        remedy = "Install it: pip install 'vla-tutorial[export]'"
        raise TutorialError(f"The export needs a library ({e}). {remedy}") from e
    said = f"{count} episode{'s' if count > 1 else ''}"
    tell(out, f"Wrote {said} to [bold]{escape(str(out_dir))}[/].")


def _write(folders: list[Path], to: str, out_dir: Path) -> int:
    """How many episodes were written."""
    from vla_tutorial.export import read_episode
    from vla_tutorial.files import check_writable

    check_writable(out_dir)
    found = [read_episode(folder) for folder in folders]
    if to == "lerobot":
        from vla_tutorial.export.lerobot import check_alike, write_lerobot

        different = check_alike(found)
        if different:
            raise TutorialError(f"{different} Export them apart.")
        write_lerobot(found, out_dir)
        return len(found)
    from vla_tutorial.export.rerun import write_rerun

    out_dir.mkdir(parents=True, exist_ok=True)
    for number, episode in enumerate(found):
        write_rerun(episode, out_dir / f"episode_{number:03d}.rrd")
    return len(found)


def _folders(given: list[Path]) -> list[Path]:
    """Folders of episodes; a sweep's folder stands for its episodes with videos."""
    found = []
    for path in given:
        if (path / "sweep.json").is_file():
            inside = sorted(video.parent for video in path.rglob("episode.mp4"))
            if not inside:
                remedy = "Run it with --video all."
                raise TutorialError(f"The sweep in {path} kept no videos. {remedy}")
            found += inside
        else:
            found.append(path)
    return found
