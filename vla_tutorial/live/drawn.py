"""What a file `data/scene/SUITE_taskN.json` holds: shapes, lamps, textures and the camera."""

from __future__ import annotations

import msgspec


class Switch(msgspec.Struct, frozen=True, rename="camel"):
    """What is drawn only while a hinge is turned far enough, as the burner's red.

    Attributes:
        body, parent: numbers of the bodies that the hinge joins.
        rest: (9,) the body's rotation in its parent where the hinge is at 0, row by row.
        axis: (3,) of the hinge, in the body's frame.
        threshold: radians from which it is drawn.
    """

    body: int
    parent: int
    rest: list[float]
    axis: list[float]
    threshold: float


class Geom(msgspec.Struct, frozen=True, rename="camel"):
    """One shape on a body, in the body's frame.

    Attributes:
        body: number of the body.
        file, mesh: the file of meshes, and the mesh in it.
        position: (3,) metres. matrix: (9,) its rotation, row by row.
        colour: red, green, blue, opacity, 0 … 1.
        texture: its key in `DrawnScene.textures`; "" for none.
        emission, specular, shininess: of MuJoCo's material, 0 … 1.
        mirror: [] or [reflectance, half size in x, half size in y, z]: the side of a box, or the
            plane, in which the scene is seen. MuJoCo draws the first one of a scene alone.
        switch: when it is drawn; None for always.
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
    mirror: list[float] = []
    switch: Switch | None = None


class Light(msgspec.Struct, frozen=True, rename="camel"):
    """A lamp in the world. The headlight has no position: it shines along the camera's axis.

    Attributes:
        directional: whether it shines along `direction` from everywhere, and never fades.
        cutoff: degrees. exponent: of the spot's fall-off. attenuation: constant, linear, quadratic.
    """

    headlight: bool
    directional: bool
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
    """All of it (`data/scene/SUITE_taskN.json`). near and far: of the frustum, in metres."""

    camera: Camera
    near: float
    far: float
    lights: list[Light]
    textures: dict[str, Texture]
    geoms: list[Geom]
