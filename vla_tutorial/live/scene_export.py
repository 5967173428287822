"""What is drawn in one task: shapes with their looks, lights and the camera, as MuJoCo has them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from vla_tutorial.errors import TutorialError
from vla_tutorial.live import shapes
from vla_tutorial.live.meshes import Mesh, from_model, pack, simplified
from vla_tutorial.live.site_files import write_bytes, write_json
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.perturb import srgb_textures
from vla_tutorial.sim.sensors import CAMERA

MOST_TEXELS = 512
"""Width and height of a texture. The camera's 256 pixels show none of these textures finer."""

COLLISION_GROUP = 0
"""Geoms of this group are not drawn by robosuite."""


class Geom(msgspec.Struct, frozen=True, rename="camel"):
    """One shape on a body, in the body's frame.

    Attributes:
        body: number of the body.
        file, mesh: the file of meshes, and the mesh in it.
        position: (3,) metres. matrix: (9,) its rotation, row by row.
        colour: red, green, blue, opacity, 0 … 1.
        texture: its key in `DrawnScene.textures`; "" for none.
        emission, specular, shininess: of MuJoCo's material, 0 … 1.
    """

    body: int
    file: str
    mesh: str
    position: list[float]
    matrix: list[float]
    colour: list[float]
    texture: str
    emission: float
    specular: float
    shininess: float


class Light(msgspec.Struct, frozen=True, rename="camel"):
    """A lamp in the world. The headlight has no position: it shines along the camera's axis.

    Attributes:
        cutoff: degrees. exponent: of the spot's fall-off. attenuation: constant, linear, quadratic.
    """

    headlight: bool
    position: list[float]
    direction: list[float]
    ambient: list[float]
    diffuse: list[float]
    specular: list[float]
    cutoff: float
    exponent: float
    attenuation: list[float]


class Texture(msgspec.Struct, frozen=True, rename="camel"):
    """A picture of `data/textures`. srgb: MuJoCo ≥ 3.3.3 would make it linear first."""

    file: str
    srgb: bool


class Camera(msgspec.Struct, frozen=True, rename="camel"):
    """Where a fixed camera stands: metres, rotation row by row, vertical angle in degrees."""

    position: list[float]
    matrix: list[float]
    fovy: float


class DrawnScene(msgspec.Struct, frozen=True, rename="camel"):
    """All of it (`data/scene/taskN.json`). near and far: of the frustum, in metres."""

    camera: Camera
    near: float
    far: float
    lights: list[Light]
    textures: dict[str, Texture]
    geoms: list[Geom]


@dataclass(frozen=True)
class Collected:
    """Meshes and files that several tasks share, gathered over all tasks.

    Attributes:
        meshes: file → mesh's name → mesh, not simplified yet.
    """

    meshes: dict[str, dict[str, Mesh]] = field(default_factory=dict)


def export(folder: Path, simulator: Simulator, collected: Collected) -> dict[str, Any]:
    """Write one task's drawn scene and textures below `folder`; its entry in the manifest.

    Meshes go into `collected`, for `export_meshes` after the last task.

    Raises:
        TutorialError: something is drawn in a way that the page cannot: shadows, mirrors, glass.
    """
    name = f"data/scene/task{simulator.task.index}.json"
    write_json(folder / name, drawn_scene(folder, simulator, collected))
    return {"scene": name}


def export_meshes(folder: Path, collected: Collected, packages: Path) -> None:
    """Simplify and write all meshes, one file for each object; raises as `simplified`."""
    flat = {}
    for file, meshes in collected.meshes.items():
        flat.update({f"{Path(file).stem}.{name}": mesh for name, mesh in meshes.items()})
    small = simplified(flat, packages)
    for file, meshes in collected.meshes.items():
        packed = [(name, small[f"{Path(file).stem}.{name}"]) for name in meshes]
        write_bytes(folder / file, pack(packed))


def drawn_scene(folder: Path, simulator: Simulator, collected: Collected) -> DrawnScene:
    """What the page draws; raises as `export`. Textures are written on the way."""
    model = simulator.model
    visible = _visible(simulator)
    tagged = srgb_textures(simulator._inner)
    textures: dict[str, Texture] = {}
    geoms = [_geom(simulator, shown, collected) for shown in visible]
    for number in sorted({_texture(model, shown) for shown in visible} - {-1}):
        file = _write_texture(folder, model, number)
        textures[model.texture(number).name] = Texture(file, number in tagged)
    camera = model.camera(CAMERA)
    scale = model.stat.extent
    return DrawnScene(
        camera=Camera(camera.pos.tolist(), _matrix(camera.quat), float(camera.fovy[0])),
        near=float(model.vis.map.znear * scale),
        far=float(model.vis.map.zfar * scale),
        lights=[_headlight(model), *_lamps(model)],
        textures=textures,
        geoms=geoms,
    )


def _visible(simulator: Simulator) -> list[Any]:
    """What is drawn of the present state and how (mjvGeom), by MuJoCo's own rules."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    model = simulator.model
    option = mujoco.MjvOption()
    option.geomgroup[COLLISION_GROUP] = 0
    scene = mujoco.MjvScene(model, maxgeom=10_000)
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = model.camera(CAMERA).id
    everything = mujoco.mjtCatBit.mjCAT_ALL
    mujoco.mjv_updateScene(
        model,
        simulator.data,
        option,
        mujoco.MjvPerturb(),
        camera,
        everything,
        scene,
    )
    # robosuite hides its markers by a negative opacity.
    return [shown for shown in scene.geoms[: scene.ngeom] if shown.rgba[3] > 0]


def _geom(simulator: Simulator, shown: Any, collected: Collected) -> Geom:
    import mujoco  # not above: `libero.load` must choose the GL backend first

    model = simulator.model
    number = int(shown.objid)
    label = model.geom(number).name if shown.objtype == mujoco.mjtObj.mjOBJ_GEOM else "a site"
    flat = shown.type in (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX)
    if shown.objtype != mujoco.mjtObj.mjOBJ_GEOM or shown.rgba[3] < 1:
        raise _cannot_draw(label, "see-through or no geom")
    if flat and shown.reflectance > 0:
        raise _cannot_draw(label, "a mirror")
    body = int(model.geom_bodyid[number])
    file, mesh = _collect(simulator, number, _texture(model, shown), collected)
    texture = _texture(model, shown)
    return Geom(
        body=body,
        file=file,
        mesh=mesh,
        position=model.geom_pos[number].tolist(),
        matrix=_matrix(model.geom_quat[number]),
        colour=[float(level) for level in shown.rgba],
        texture=model.texture(texture).name if texture >= 0 else "",
        emission=float(shown.emission),
        specular=float(shown.specular),
        shininess=float(shown.shininess),
    )


def _cannot_draw(label: str, what: str) -> TutorialError:
    return TutorialError(
        f"{label} is {what}, which the page does not draw. Choose another suite: libero_object."
    )


def _texture(model: Any, shown: Any) -> int:
    """Number of the texture of a drawn geom's material, −1 for none."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    if shown.matid < 0:
        return -1
    return int(model.mat_texid[shown.matid][mujoco.mjtTextureRole.mjTEXROLE_RGB])


def _collect(
    simulator: Simulator, number: int, texture: int, collected: Collected
) -> tuple[str, str]:
    """The file and the name of a geom's mesh, which is added where it is new."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    model = simulator.model
    kind = int(model.geom_type[number])
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = int(model.geom_dataid[number])
        name = model.mesh(mesh).name
        owner = _owner(name, simulator.bodies)
    else:
        name = f"{model.geom(number).name}_{simulator.task.suite}"
        owner = "room"
    file = f"data/scene/meshes/{owner}.bin"
    meshes = collected.meshes.setdefault(file, {})
    if name not in meshes:
        meshes[name] = from_model(model, mesh) if owner != "room" else shapes.of(model, number)
    if texture >= 0 and not meshes[name].textured:
        raise _cannot_draw(name, "textured without coordinates")
    return file, name


def _owner(mesh: str, objects: Iterable[str]) -> str:
    """What a mesh belongs to: an object of the task, or the robot or gripper before its "0_"."""
    for name in objects:
        if mesh.startswith(f"{name}_"):
            return name
    return mesh.partition("_")[0]


def _matrix(quaternion: Any) -> list[float]:
    """(9,) rotation matrix, row by row, of w, x, y, z."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return [float(x) for x in matrix]


def _headlight(model: Any) -> Light:
    head = model.vis.headlight
    return Light(
        headlight=True,
        position=[0, 0, 0],
        direction=[0, 0, -1],
        ambient=head.ambient.tolist(),
        diffuse=head.diffuse.tolist(),
        specular=head.specular.tolist(),
        cutoff=180,
        exponent=0,
        attenuation=[1, 0, 0],
    )


def _lamps(model: Any) -> list[Light]:
    return [_lamp(model, i) for i in range(model.nlight) if model.light_active[i]]


def _lamp(model: Any, i: int) -> Light:
    """A lamp of the model that is fixed in the world."""
    if model.light_castshadow[i] or model.light_directional[i] or model.light_bodyid[i]:
        raise _cannot_draw(f"light {i}", "one that casts shadows, moves or has no position")
    return Light(
        headlight=False,
        position=model.light_pos[i].tolist(),
        direction=model.light_dir[i].tolist(),
        ambient=model.light_ambient[i].tolist(),
        diffuse=model.light_diffuse[i].tolist(),
        specular=model.light_specular[i].tolist(),
        cutoff=float(model.light_cutoff[i]),
        exponent=float(model.light_exponent[i]),
        attenuation=model.light_attenuation[i].tolist(),
    )


def _write_texture(folder: Path, model: Any, number: int) -> str:
    """Write a texture as lossless WebP, halved until it has `MOST_TEXELS` at most; its file."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    name = model.texture(number).name
    file = f"data/textures/{name}.webp"
    # Tasks share textures by name, and packing one takes a second.
    if (folder / file).is_file():
        return file
    if model.tex_type[number] != mujoco.mjtTexture.mjTEXTURE_2D:
        raise _cannot_draw(name, "a cube texture")
    height = int(model.tex_height[number])
    width = int(model.tex_width[number])
    channels = int(model.tex_nchannel[number])
    start = int(model.tex_adr[number])
    texels = model.tex_data[start : start + height * width * channels]
    picture = texels.reshape(height, width, channels)[..., :3]
    while max(picture.shape[:2]) > MOST_TEXELS:
        picture = _halved(picture)
    stored = io.BytesIO()
    Image.fromarray(np.rint(picture).astype(np.uint8)).save(
        stored, "webp", lossless=True, quality=100, method=6
    )
    write_bytes(folder / file, stored.getvalue())
    return file


def _halved(picture: Any) -> Any:
    """(H/2, W/2, 3) means of 2 × 2 texels, as OpenGL's next level has them."""
    height = picture.shape[0] // 2
    width = picture.shape[1] // 2
    even = picture[: 2 * height, : 2 * width].astype(np.float64)
    return even.reshape(height, 2, width, 2, 3).mean((1, 3))
