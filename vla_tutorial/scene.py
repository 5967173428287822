"""What an episode is about: task, initial state, instruction, and changes of world or camera."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vla_tutorial.decoding import printable
from vla_tutorial.errors import TutorialError

BASKET = "basket_1"
"""LIBERO-object's name for the basket that takes the target."""

Goal = tuple[tuple[str, ...], ...]
"""Predicates that must all hold, each LIBERO's name of it in lower case and its arguments."""

OWN = "bddl:"
"""The suite of an own scene begins so, in records."""

Distractors = Literal["as_saved", "swapped", "hidden"]


@dataclass(frozen=True)
class Perturbation:
    """Changes of the simulated world and its camera (`sim/perturb.py`); by default none.

    Attributes:
        camera_degrees: orbit the camera by this angle, −90 … 90, about the vertical axis through
            its look-at point, counterclockwise seen from above. Its height and distance stay. (A
            roll about the camera's own axis would not change what hides what.)
        light: share of the published brightness of every lamp, 0 … 2. Surfaces that shine by
            themselves and the sky stay.
        camera_noise: standard deviation in grey levels, 0 … 128, of Gaussian noise in every pixel
            and channel, drawn anew each step.
        second_can: draw a second instance of the task's object in the freest place among the
            objects. Nothing collides with it: it can mislead a policy, not get in its way.
        distractors: objects that the task does not name: `as_saved`, `swapped` (each stands where
            the next one stood) or `hidden` (they stand behind the camera).
        srgb_textures: draw textures whose files are tagged sRGB as MuJoCo does from 3.3.3 on.
        friction: factor on every friction coefficient, 0.1 … 10.
        joint_noise_seed: 0 for none; k > 0 turns each arm joint by a random angle of standard
            deviation 0.01 rad before settling. The draw depends on k and on the initial state.
        control_rate: control steps a second, 10 … 20. LIBERO has 20; with 10, each action lasts
            100 ms. It holds from the first action on: settling stays as published.
        absolute_control: whether the controller takes an action's translation for a place (metres,
            world frame) and its rotation for an orientation, in place of a displacement. It holds
            from the first action on, too.
    """

    camera_degrees: float = 0.0
    light: float = 1.0
    camera_noise: float = 0.0
    second_can: bool = False
    distractors: Distractors = "as_saved"
    srgb_textures: bool = False
    friction: float = 1.0
    joint_noise_seed: int = 0
    control_rate: float = 20.0
    absolute_control: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        ranges = {
            "camera_degrees": (-90, 90),
            "light": (0, 2),
            "camera_noise": (0, 128),
            "friction": (0.1, 10),
            "joint_noise_seed": (0, 2**31),
            "control_rate": (10, 20),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise TutorialError(f"{name} is {value}; expected {low} … {high}.")


UNPERTURBED = Perturbation()
"""The world as LIBERO made it."""


@dataclass(frozen=True)
class About:
    """What the sentence of an episode is about, to choose other words that say the same.

    Attributes:
        suite: the base suite, for example "libero_spatial".
        task: number of that suite's task whose published sentence it is; None where none has it.
        things: names of the objects that the sentence names and that are handled, in its order.
        place: for libero_spatial, where the bowl stands, one of `BOWL_PLACES`; else "".
    """

    suite: str
    task: int | None
    things: tuple[str, ...] = ()
    place: str = ""


BOWL_PLACES = (
    "between_plate_and_ramekin", "next_to_ramekin", "table_center", "on_cookie_box",
    "in_top_drawer", "on_ramekin", "next_to_cookie_box", "on_stove", "next_to_plate",
    "on_wooden_cabinet",
)  # fmt: skip
"""Where libero_spatial's bowl stands, in the order of the tasks that ask for it there."""


@dataclass(frozen=True)
class OwnScene:
    """A scene that no suite has: a BDDL file of the reader's own (`sim.read_own_scene`).

    Attributes:
        bddl: its definition, an absolute path.
        bddl_sha256: hash of that file, in hexadecimal digits.
        init_states: `.npy` or `.npz` with states to begin in; None lets LIBERO place the objects.
        init_states_sha256: hash of that file.
    """

    bddl: Path
    bddl_sha256: str
    init_states: Path | None = None
    init_states_sha256: str | None = None

    @property
    def suite(self) -> str:
        """What records have in place of a suite's name: "bddl:tea" for tea.bddl."""
        return f"{OWN}{printable(self.bddl.stem)}"[:100]

    def entry(self) -> dict[str, str | None]:
        """What records say of the files."""
        states = printable(self.init_states.name) if self.init_states else None
        return {
            "bddl": printable(self.bddl.name),
            "bddl_sha256": self.bddl_sha256,
            "init_states": states,
            "init_states_sha256": self.init_states_sha256,
        }


@dataclass(frozen=True)
class Scene:
    """One episode's task and everything about the scene that a condition may change.

    Attributes:
        suite: for example "libero_object".
        task: number within the suite.
        init: number of the saved initial state.
        instruction: the sentence that the policy gets; None takes the task's own, "" is empty.
        target: another object of a libero_object scene, for example "milk_1". It replaces the
            task's own in the instruction, and the episode succeeds when it lies in the basket.
        layout_seed: seed of a random layout (`sim.layouts`) that replaces the saved initial state.
        perturbation: what differs from the world as LIBERO made it.
        own: a scene of the reader's own; suite and task are `own.suite` and 0 then, and without
            saved states `init` is the seed with which LIBERO places the objects.
    """

    suite: str
    task: int
    init: int
    instruction: str | None = None
    perturbation: Perturbation = field(default=UNPERTURBED)
    target: str | None = None
    layout_seed: int | None = None
    own: OwnScene | None = None

    def instruction_for(self, own: str) -> str:
        """The sentence that the policy gets, where `own` is the task's own instruction."""
        if self.instruction is not None:
            return self.instruction
        if self.target is not None:
            return pick_up_sentence(self.target)
        return own


def pick_up_sentence(target: str) -> str:
    """LIBERO-object's sentence for an object: the one for "bbq_sauce_1" asks for the bbq sauce."""
    return f"pick up the {_noun(target)} and place it in the basket"


def put_both_sentence(first: str, second: str) -> str:
    """libero_10's sentence for two objects and the basket, the names as "milk_1"."""
    names = []
    for thing in (first, second):
        box = " box" if thing.startswith("cream_cheese") else ""
        names.append(f"the {_noun(thing)}{box}")
    return f"put both {names[0]} and {names[1]} in the basket"


def _noun(name: str) -> str:
    return name.rsplit("_", 1)[0].replace("_", " ")
