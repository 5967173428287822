"""What is drawn in one task: shapes with their looks, lights and the camera, as MuJoCo has them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from vla_tutorial.errors import TutorialError
from vla_tutorial.live import goals_export, shapes
from vla_tutorial.live.drawn import Camera, DrawnScene, Geom, Light, Switch, Texture
from vla_tutorial.live.meshes import Mesh, from_model, pack, simplified
from vla_tutorial.live.site_files import stem, write_bytes, write_json
from vla_tutorial.policies.expert.predicates import kind
from vla_tutorial.sim import Simulator
from vla_tutorial.sim.perturb import srgb_textures
from vla_tutorial.sim.sensors import CAMERA

MOST_TEXELS = 512
"""Width and height of a texture at most; larger ones of even size are halved. The camera's 256
pixels show none of these textures finer."""

OPAQUE = 0.995
"""Opacity from which MuJoCo draws a shape as if nothing were seen through it (render_gl3.c)."""

COLLISION_GROUP = 0
"""Geoms of this group are not drawn by robosuite."""


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
        TutorialError: something is drawn in a way that the page cannot, as shadows.
    """
    name = f"data/scene/{stem(simulator.task.suite, simulator.task.index)}.json"
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
    switches = _switches(simulator)
    visible = _visible(simulator, switches)
    tagged = srgb_textures(simulator._inner)
    textures: dict[str, Texture] = {}
    geoms = [_geom(simulator, shown, collected) for shown in visible]
    _keep_one_mirror(geoms)
    geoms += [_site(simulator, number, switch, collected) for number, switch in switches.items()]
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


def _visible(simulator: Simulator, switches: Mapping[int, Switch]) -> list[Any]:
    """What is drawn of the present state and how (mjvGeom), by MuJoCo's own rules.

    Sites with a switch are left out: some tasks begin with a burner that is on.
    """
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
    drawn = [shown for shown in scene.geoms[: scene.ngeom] if shown.rgba[3] > 0]
    site = mujoco.mjtObj.mjOBJ_SITE
    return [one for one in drawn if one.objtype != site or one.objid not in switches]


def _geom(simulator: Simulator, shown: Any, collected: Collected) -> Geom:
    import mujoco  # not above: `libero.load` must choose the GL backend first

    model = simulator.model
    number = int(shown.objid)
    if shown.objtype != mujoco.mjtObj.mjOBJ_GEOM:
        raise _cannot_draw(f"object {number}", "no geom")
    body = int(model.geom_bodyid[number])
    file, mesh = _collect(simulator, shown, collected)
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
        mirror=_mirror(shown),
    )


def _mirror(shown: Any) -> list[float]:
    """`Geom.mirror`: planes and the upper sides of boxes reflect, unless they are see-through."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    box = shown.type == mujoco.mjtGeom.mjGEOM_BOX
    flat = box or shown.type == mujoco.mjtGeom.mjGEOM_PLANE
    if not flat or shown.reflectance <= 0 or shown.rgba[3] < OPAQUE:
        return []
    x, y, z = (float(half) for half in shown.size)
    return [float(shown.reflectance), x, y, z if box else 0.0]


def _keep_one_mirror(geoms: list[Geom]) -> None:
    """MuJoCo draws the first mirror of a scene and takes the others for none."""
    mirrors = [i for i, geom in enumerate(geoms) if geom.mirror]
    for i in mirrors[1:]:
        geoms[i] = msgspec.structs.replace(geoms[i], mirror=[])


def _switches(simulator: Simulator) -> dict[int, Switch]:
    """Sites that LIBERO shows while a fixture is on, by their number: a stove's burner."""
    model = simulator.model
    found = {}
    for name in simulator.bodies:
        thing = simulator._inner.get_object(name)
        for site, _ in thing.object_properties.get("vis_site_names", {}).values():
            joint = model.joint(thing.joints[0])
            body = int(joint.bodyid[0])
            found[model.site(site).id] = Switch(
                body=body,
                parent=int(model.body_parentid[body]),
                rest=_matrix(model.body_quat[body]),
                axis=[float(x) for x in joint.axis],
                threshold=goals_export.THRESHOLDS["turnon"](kind(name)),
            )
    return found


def _site(simulator: Simulator, number: int, switch: Switch, collected: Collected) -> Geom:
    """A site as it is drawn while its switch is on. Sites have MuJoCo's default material."""
    model = simulator.model
    name = f"{model.site(number).name}_{simulator.task.suite}"
    file = f"data/scene/meshes/room_{simulator.task.suite}.bin"
    collected.meshes.setdefault(file, {})[name] = shapes.site(model, number)
    # robosuite and LIBERO keep it hidden by its opacity alone.
    colour = [*(float(level) for level in model.site_rgba[number][:3]), 1.0]
    return Geom(
        body=int(model.site_bodyid[number]),
        file=file,
        mesh=name,
        position=model.site_pos[number].tolist(),
        matrix=_matrix(model.site_quat[number]),
        colour=colour,
        texture="",
        emission=0.0,
        specular=0.5,
        shininess=0.5,
        switch=switch,
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


def _collect(simulator: Simulator, shown: Any, collected: Collected) -> tuple[str, str]:
    """The file and the name of a drawn geom's mesh, which is added where it is new."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    model = simulator.model
    number = int(shown.objid)
    is_mesh = model.geom_type[number] == mujoco.mjtGeom.mjGEOM_MESH
    if is_mesh:
        name = model.mesh(int(model.geom_dataid[number])).name
        owner = _owner(name, simulator.bodies)
    else:
        # Rooms of one suite give one name to walls and tables of different sizes.
        millimetres = "x".join(f"{1000 * half:.0f}" for half in model.geom_size[number])
        name = f"{model.geom(number).name}_{simulator.task.suite}_{millimetres}"
        # A file each suite, so that nobody loads the rooms of the others.
        owner = f"room_{simulator.task.suite}"
    file = f"data/scene/meshes/{owner}.bin"
    meshes = collected.meshes.setdefault(file, {})
    if name not in meshes:
        meshes[name] = _mesh(model, shown) if is_mesh else shapes.of(model, number)
    return file, name


def _mesh(model: Any, shown: Any) -> Mesh:
    """The mesh of a drawn geom, with the texture coordinates that its material needs."""
    mesh = from_model(model, int(model.geom_dataid[shown.objid]))
    if mesh.textured or _texture(model, shown) < 0:
        return mesh
    return shapes.with_coordinates(model, int(shown.matid), mesh, np.array(shown.size))


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
        directional=False,
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
    if model.light_castshadow[i] or model.light_bodyid[i]:
        raise _cannot_draw(f"light {i}", "one that casts shadows or moves")
    return Light(
        headlight=False,
        directional=bool(model.light_directional[i]),
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
    """Write a texture as lossless WebP, halved until it is small; its file."""
    import mujoco  # not above: `libero.load` must choose the GL backend first

    name = model.texture(number).name
    height = int(model.tex_height[number])
    width = int(model.tex_width[number])
    if model.tex_type[number] != mujoco.mjtTexture.mjTEXTURE_2D and height != width:
        raise _cannot_draw(name, "a cube texture with six pictures")
    channels = int(model.tex_nchannel[number])
    start = int(model.tex_adr[number])
    texels = model.tex_data[start : start + height * width * channels]
    # Rooms of one suite give one name to different pictures.
    file = f"data/textures/{name}_{zlib.crc32(texels.tobytes()):08x}.webp"
    # Tasks share textures, and packing one takes a second.
    if (folder / file).is_file():
        return file
    picture = texels.reshape(height, width, channels)[..., :3]
    while not _small(*picture.shape[:2]):
        picture = _halved(picture)
    stored = io.BytesIO()
    Image.fromarray(np.rint(picture).astype(np.uint8)).save(
        stored, "webp", lossless=True, quality=100, method=6
    )
    write_bytes(folder / file, stored.getvalue())
    return file


def _small(height: int, width: int) -> bool:
    """Whether a texture is written as it is: an odd one is not halved, which would shift it."""
    largest = max(height, width)
    odd = bool(height % 2 or width % 2)
    return largest <= MOST_TEXELS or (odd and largest <= 2 * MOST_TEXELS)


def _halved(picture: Any) -> Any:
    """(H/2, W/2, 3) means of 2 × 2 texels, as OpenGL's next level has them."""
    height = picture.shape[0] // 2
    width = picture.shape[1] // 2
    even = picture[: 2 * height, : 2 * width].astype(np.float64)
    return even.reshape(height, 2, width, 2, 3).mean((1, 3))
