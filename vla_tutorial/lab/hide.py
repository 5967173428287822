"""Hide conditions from a partner: a code word that can be run without its names being seen.

    code = lab.hide("no_flip")          # here: 7KQ-M2PD-X3RW-9BTA
    run = lab.hidden(code, "out/a")     # on the partner's computer: records and shows two episodes
    run.guess("flip_only")              # scores, and says what it was

The code word hides the names from the eye. Whoever reads this file can undo it.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from vla_tutorial import prompt
from vla_tutorial.conditions import CATALOGUE
from vla_tutorial.decoding import read_object
from vla_tutorial.errors import TutorialError, unknown
from vla_tutorial.lab.live import LiveEpisode, Session
from vla_tutorial.lab.shown_clip import ShownClip, clip_html
from vla_tutorial.log import read_log
from vla_tutorial.player.episode_data import series as log_series
from vla_tutorial.spec import EpisodeSpec

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""32 signs without 0, 1, I and O, which look alike."""

MOST = 3
"""Conditions in a code word. It always has as many groups of four, whatever it hides."""

KEPT = ("steps.jsonl", "agentview.png")
"""Files of a hidden episode that name no condition."""


def _group(salt: str, name: str) -> str:
    """Four signs, 20 bits, for a condition in a code word that begins with `salt`."""
    number = int.from_bytes(hashlib.sha256(f"{salt}\0{name}".encode()).digest()[:4], "big")
    return "".join(ALPHABET[number >> 5 * i & 31] for i in range(4))


def hide(*names: str) -> str:
    """A code word for one to three conditions. Two calls with the same names give two code words.

    Raises:
        TutorialError: no or too many names, an unknown one, or conditions that contradict.
    """
    if not 1 <= len(names) <= MOST or len(set(names)) != len(names):
        raise TutorialError(f"hide takes 1 to {MOST} different names; got {len(names)}: {names}.")
    EpisodeSpec(conditions=names).settings()
    salt = _drawn(3)
    groups = [_group(salt, name) for name in names]
    known = {_group(salt, name) for name in CATALOGUE}
    if len(known) < len(CATALOGUE):
        # Two names have one group, once in 800 draws.
        return hide(*names)
    while len(groups) < MOST:
        filler = _drawn(4)
        if filler not in known:
            groups.append(filler)
    secrets.SystemRandom().shuffle(groups)
    return "-".join((salt, *groups))


def _drawn(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(count))


def _names(code: object) -> tuple[str, ...]:
    """The conditions of a code word, in the catalogue's order; raises as `hidden`."""
    groups = str(code).strip().upper().split("-")
    found: list[str] = []
    if [len(group) for group in groups] == [3] + [4] * MOST:
        found = [name for name in CATALOGUE if _group(groups[0], name) in groups[1:]]
    if not found:
        shown = str(code)[:40]
        what = f"The code word {shown!r} hides nothing that this version knows"
        remedy = "Compare it letter by letter; your partner needs the same version."
        raise TutorialError(f"{what}. Expected one such as 7KQ-M2PD-X3RW-9BTA. {remedy}")
    return tuple(found)


@dataclass(frozen=True)
class Guess:
    """How good a guess was. As the last line of a cell it says so, and what was hidden."""

    points: int
    possible: int
    hidden: tuple[str, ...]
    boundaries: tuple[str, ...]

    def __repr__(self) -> str:
        pairs = zip(self.hidden, self.boundaries, strict=True)
        listed = ", ".join(f"{name} ({boundary})" for name, boundary in pairs)
        return f"{self.points} of {self.possible} points. It was: {listed}."


class Hidden:
    """Two recorded episodes of one start: one under hidden conditions, one as published.

    As the last line of a cell it shows itself: first pictures, prompts, first tokens, curves.
    """

    def __init__(self, names: tuple[str, ...], shown: ShownClip, good: ShownClip) -> None:
        self._names = names
        self.shown = shown
        self.good = good

    def _repr_html_(self) -> str:
        return clip_html(self.shown, self.good, "hidden")

    def __repr__(self) -> str:
        return f"Hidden: prompt {self.shown.prompt!r}. {self.shown.in_words()}."

    def guess(self, *names: str) -> Guess:
        """Score a guess, and reveal.

        A right name gives two points, a wrong one of the right boundary gives one. A name too many
        costs one.

        Raises:
            TutorialError: there is no such condition. Nothing is revealed.
        """
        for name in names:
            if name not in CATALOGUE:
                raise unknown("condition", str(name), CATALOGUE)
        boundaries = tuple(CATALOGUE[name].boundary for name in self._names)
        right = set(names) & set(self._names)
        left = [CATALOGUE[n].boundary for n in self._names if n not in right]
        near = 0
        for name in set(names) - right:
            if CATALOGUE[name].boundary in left:
                left.remove(CATALOGUE[name].boundary)
                near += 1
        surplus = max(0, len(set(names)) - len(self._names))
        points = max(0, 2 * len(right) + near - surplus)
        return Guess(points, 2 * len(self._names), self._names, boundaries)


def hidden(
    code: str, folder: str | Path, *, session: Session | None = None, **settings: Any
) -> Hidden:
    """Record an episode under what a code word hides, and one as published: a minute or two.

    Of the hidden episode `folder` gets only the files that name no condition.

    Args:
        folder: a new folder.
        session: keeps policy and simulator; without one they are made and closed.
        settings: fields of `EpisodeSpec`, for example `task=3, max_steps=100`.

    Raises:
        TutorialError: the code word hides nothing, or an episode cannot be run.
    """
    names = _names(code)
    target = Path(folder)
    if target.exists():
        raise TutorialError(f"{target} exists already. Choose a new folder.")
    if session is None:
        with Session() as own:
            return hidden(code, folder, session=own, **settings)
    specs = [EpisodeSpec(**{**settings, "conditions": found}) for found in (names, ())]
    with tempfile.TemporaryDirectory() as scratch:
        clips = []
        for number, spec in enumerate(specs):
            made = Path(scratch) / str(number)
            _record(spec, made, session)
            clips.append(_shown(spec, made))
        target.mkdir(parents=True)
        for name in KEPT:
            shutil.copyfile(Path(scratch) / "0" / name, target / name)
    return Hidden(names, *clips)


def _record(spec: EpisodeSpec, folder: Path, session: Session) -> None:
    """Record an episode; what an error says of the folder would not help."""
    episode = LiveEpisode(spec, folder, session)
    episode.start()
    try:
        episode.wait()
    except KeyboardInterrupt:
        episode.stop()
        episode.wait()
        raise
    if episode.error:
        raise TutorialError(episode.error)


class _Said(msgspec.Struct):
    """What is read of `episode.json`."""

    instruction: str


def _shown(spec: EpisodeSpec, folder: Path) -> ShownClip:
    """What is shown of a recorded episode. Perturbed instructions are already in its record."""
    log = read_log(folder)
    wiring, _ = spec.settings()
    said = read_object(folder / "episode.json", _Said, "Record the episode again.")
    with Image.open(folder / "agentview.png") as first:
        picture = np.asarray(first.convert("RGB"))
    tokens = tuple(int(token) for token in log.tokens[0])
    text = prompt.build(wiring, said["instruction"]).text
    return ShownClip(picture, text, tokens, log_series(log))
