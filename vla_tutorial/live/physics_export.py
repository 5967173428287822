"""What MuJoCo in a browser needs of one task: a model without looks, its states and its goal."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.conditions import CATALOGUE
from vla_tutorial.errors import TutorialError
from vla_tutorial.live import layouts_export
from vla_tutorial.live.goals_export import GoalPart, goal_parts
from vla_tutorial.live.site_files import stem, write_bytes, write_json
from vla_tutorial.scene import BASKET
from vla_tutorial.sim import Simulator, initial_states
from vla_tutorial.sim.perturb import JOINT_NOISE_RAD, free_positions
from vla_tutorial.sim.rendered_copy import reach
from vla_tutorial.spec import PUBLISHED_SCENE, PUBLISHED_WIRING

LOOKS = ("texture", "material", "skin", "hfield")
"""Assets of the model that no force depends on."""

ARENA = "32M"
"""MuJoCo's memory for contacts and constraints of one simulator. LIBERO's 5,000 contacts would take
1.3 GB of the browser's memory; objects that settle have 204 at most and use 1 MB (tasks 0, 6 and
9)."""

COMPARED = (
    "body_mass", "body_inertia", "body_ipos", "body_iquat", "body_pos", "body_quat",
    "dof_armature", "dof_damping", "dof_frictionloss", "jnt_range", "qpos0", "jnt_stiffness",
    "actuator_gainprm", "actuator_biasprm", "actuator_ctrlrange", "site_pos", "site_quat",
)  # fmt: skip
"""Arrays of mjModel that must be the same with and without looks."""


class Movable(msgspec.Struct, frozen=True, rename="camel"):
    """An object with a free joint.

    Attributes:
        name, body: LIBERO's name, and the name of its body.
        start: where its position begins in qpos; its quaternion follows.
        radius: metres around the body's origin that its shapes may reach.
        named: whether the task speaks of it.
    """

    name: str
    body: str
    start: int
    radius: float
    named: bool


class Physics(msgspec.Struct, frozen=True, rename="camel"):
    """What the page's simulator reads beside the XML (`data/physics/SUITE_taskN.json`).

    Attributes:
        bodies: names in MuJoCo's order.
        meshes: files of collision meshes in data/meshes.
        arm_positions, arm_velocities: indices in qpos and qvel of the seven arm joints.
        arm_actuators, finger_actuators: indices in ctrl.
        home: (7,) radians, the arm after robosuite's reset.
        fingers_home: (2,) metres, the fingers after it.
        rest: (7,) radians, where the controller's null space pulls to.
        grip_site: name of the site that is the end effector.
        finger_joints: indices in qpos.
        goal: all of it must hold.
        basket: the box that `goal` means, for any object; none where the scene has no basket.
        movables: objects with a free joint.
        fixtures: bodies of cabinets, stoves and the like, which have no joint of their own.
        copied: name of the object that `second_can` draws twice; "" where the task moves none.
        pivot: (3,) metres, the point around which the camera orbits.
        joint_noise_seeds: seeds for which `joint_noise` holds draws.
        joint_noise: [seed][start][joint], radians; the saved initial states, then the layouts.
    """

    bodies: list[str]
    meshes: list[str]
    arm_positions: list[int]
    arm_velocities: list[int]
    arm_actuators: list[int]
    finger_actuators: list[int]
    home: list[float]
    fingers_home: list[float]
    rest: list[float]
    grip_site: str
    finger_joints: list[int]
    goal: list[GoalPart]
    basket: GoalPart | None
    movables: list[Movable]
    fixtures: list[str]
    copied: str
    pivot: list[float]
    joint_noise_seeds: list[int]
    joint_noise: list[list[list[float]]]


def export(folder: Path, simulator: Simulator) -> dict[str, Any]:
    """Write one task's physics below `folder`; its entries in the manifest, by key.

    It writes data/physics/, data/meshes/ and data/states/. The simulator is reset to the first
    saved state.

    Raises:
        TutorialError: the goal has a predicate that the page does not know, the model changes when
            looks are taken out of it, or the scene has no layouts.
    """
    task = simulator.task.index
    name = stem(simulator.task.suite, task)
    xml = f"data/physics/{name}.xml"
    meshes = _write_model(folder, xml, simulator)
    layouts = layouts_export.draw(simulator)
    simulator.reset()
    states = initial_states(simulator.task.suite, task)
    starts = np.concatenate([states, layouts_export.states(layouts)])
    about = f"data/physics/{name}.json"
    write_json(folder / about, physics(simulator, meshes, starts))
    states_file = f"data/states/{name}.bin"
    write_bytes(folder / states_file, states.astype("<f8").tobytes())
    found = {"physics": xml, "simulation": about, "states": states_file}
    return found | layouts_export.export(folder, simulator, layouts)


def _write_model(folder: Path, name: str, simulator: Simulator) -> list[str]:
    """Write the XML and its collision meshes, check the model; the meshes' files."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    root = ElementTree.fromstring(simulator._inner.model.get_xml())
    _strip_looks(root)
    _place_fixtures(root, simulator)
    asset = root.find("asset")
    assert asset is not None
    meshes = []
    for mesh in asset.findall("mesh"):
        source = Path(mesh.attrib["file"])
        file = f"{mesh.attrib['name']}{source.suffix.lower()}"
        write_bytes(folder / "data/meshes" / file, source.read_bytes())
        mesh.set("file", file)
        meshes.append(file)
    compiler = root.find("compiler")
    assert compiler is not None
    compiler.set("meshdir", "../meshes")
    ElementTree.indent(root, space=" ")
    text = ElementTree.tostring(root, encoding="unicode")
    write_bytes(folder / name, f"{text}\n".encode())
    _check_same(mujoco.MjModel.from_xml_path(str(folder / name)), simulator.model)
    return meshes


def _numbers(values: Any) -> str:
    return " ".join(repr(float(x)) for x in values)


def _place_fixtures(root: ElementTree.Element, simulator: Simulator) -> None:
    """Write where fixtures stand: LIBERO's reset moves them in the model alone."""
    elements = {element.get("name"): element for element in root.iter("body")}
    for body in simulator.fixtures.values():
        element = elements[simulator.model.body(body).name]
        element.attrib.pop("euler", None)
        element.set("pos", _numbers(simulator.model.body_pos[body]))
        element.set("quat", _numbers(simulator.model.body_quat[body]))


def _strip_looks(root: ElementTree.Element) -> None:
    """Take out what only a picture needs: materials, lights, cameras and geoms without contacts."""
    world = root.find("worldbody")
    asset = root.find("asset")
    assert world is not None
    assert asset is not None
    _strip_body(world)
    used = {geom.get("mesh") for geom in root.iter("geom")}
    for item in list(asset):
        if item.tag in LOOKS or (item.tag == "mesh" and item.get("name") not in used):
            asset.remove(item)
    for item in list(root):
        if item.tag in ("visual", "size"):
            root.remove(item)
    ElementTree.SubElement(root, "size", memory=ARENA)


def _strip_body(body: ElementTree.Element) -> None:
    for item in list(body):
        if item.tag in ("light", "camera") or _is_contact_free(item):
            body.remove(item)
        else:
            item.attrib.pop("material", None)
            _strip_body(item)


def _is_contact_free(item: ElementTree.Element) -> bool:
    bits = (item.get("contype"), item.get("conaffinity"))
    return item.tag == "geom" and bits == ("0", "0")


def _check_same(found: Any, expected: Any) -> None:
    """Raise a TutorialError where the stripped model would move otherwise."""
    for name in COMPARED:
        here = getattr(found, name)
        there = getattr(expected, name)
        if name in ("body_ipos", "body_iquat") and here.shape == there.shape:
            # MuJoCo takes the centre of what weighs nothing from where the XML puts the body.
            heavy = expected.body_mass > 0
            here = here[heavy]
            there = there[heavy]
        if here.shape == there.shape and np.allclose(here, there, rtol=1e-12, atol=1e-12):
            continue
        raise TutorialError(
            f"{name} of the model changes when its looks are taken out. The page's physics would "
            "differ from LIBERO's. Choose another suite."
        )


def physics(simulator: Simulator, meshes: list[str], starts: Floats) -> Physics:
    """What the page's simulator needs to know; raises as `export`.

    Args:
        meshes: files.
        starts: (N, S), all states in which an episode may begin.
    """
    inner = simulator._inner
    (robot,) = inner.robots
    model = simulator.model
    fingers = [model.actuator(name).id for name in robot.gripper.actuators]
    finger_joints = [int(model.joint(name).qposadr[0]) for name in robot.gripper.joints]
    seeds = sorted(_noise_seeds())
    named = inner.parsed_problem["obj_of_interest"]
    return Physics(
        bodies=[model.body(i).name for i in range(model.nbody)],
        meshes=meshes,
        arm_positions=[int(i) for i in robot._ref_joint_pos_indexes],
        arm_velocities=[int(i) for i in robot._ref_joint_vel_indexes],
        arm_actuators=[int(i) for i in robot._ref_joint_actuator_indexes],
        finger_actuators=fingers,
        home=robot.init_qpos.tolist(),
        fingers_home=[float(x) for x in robot.gripper.init_qpos],
        rest=robot.controller.initial_joint.tolist(),
        grip_site=robot.controller.eef_name,
        finger_joints=finger_joints,
        goal=goal_parts(simulator, simulator.goal),
        basket=_basket(simulator),
        movables=_movables(simulator),
        fixtures=[model.body(body).name for body in simulator.fixtures.values()],
        copied=next((name for name in named if name in free_positions(inner)), ""),
        pivot=simulator._perturber._pivot.tolist(),
        joint_noise_seeds=seeds,
        joint_noise=[_joint_noise(starts, seed).tolist() for seed in seeds],
    )


def _basket(simulator: Simulator) -> GoalPart | None:
    """The basket's region, as the goal of any object of the scene would name it."""
    if BASKET not in simulator.bodies:
        return None
    (part, *_) = goal_parts(simulator, (("in", BASKET, f"{BASKET}_contain_region"),))
    return part


def _movables(simulator: Simulator) -> list[Movable]:
    inner = simulator._inner
    named = inner.parsed_problem["obj_of_interest"]
    found = []
    for name, start in free_positions(inner).items():
        body = simulator.bodies[name]
        radius = reach(simulator.model, body)
        label = simulator.model.body(body).name
        found.append(Movable(name, label, start, radius, name in named))
    return found


def _noise_seeds() -> set[int]:
    """Every seed of joint noise that a condition of the catalogue asks for."""
    seeds = set()
    for condition in CATALOGUE.values():
        _, scene = condition.change(PUBLISHED_WIRING, PUBLISHED_SCENE)
        seeds.add(scene.perturbation.joint_noise_seed)
    return seeds - {0}


def _joint_noise(starts: Floats, seed: int) -> Floats:
    """(N, 7) radians: what `sim.perturb` adds to the arm in each start.

    numpy's generator is not rebuilt in the page, so its draws travel.
    """
    rows = []
    for state in starts:
        rng = np.random.default_rng((seed, zlib.crc32(state.tobytes())))
        rows.append(rng.normal(0, JOINT_NOISE_RAD, 7))
    return np.array(rows)
