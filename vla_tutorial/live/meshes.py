"""Drawn meshes: taken from MuJoCo's model, simplified by meshoptimizer, packed into small files."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy.sparse import csr_matrix

from vla_tutorial.arrays import Floats, Ints
from vla_tutorial.errors import TutorialError
from vla_tutorial.live.site_files import write_json
from vla_tutorial.live.vendor import PAGE

TOLERANCE = 1e-4
"""Metres by which a simplified surface may differ. 1 pixel of the camera covers about 4 mm."""

WEIGHTS = (0.02, 0.02, 0.02, 0.05, 0.05)
"""How much a difference of the normal (3) and of the texture coordinates (2) counts, in metres."""

CREASE = 0.9
"""Cosine between corners' normals above which they are one surface, and share a vertex. Facets of
the robot are smaller than a pixel; flat ones would need six times the vertices."""

_FINE_NORMAL = 2047
_FINE_POSITION = 65535
_SHARP = 0.8
"""Cosine between a corner's normal and its triangle's below which MuJoCo draws it flat, where there
are no texture coordinates (`makeMesh` in its render_context.c)."""


@dataclass(frozen=True)
class Mesh:
    """Triangles of one shape.

    Attributes:
        positions: (V, 3) metres, in the geom's frame.
        normals: (V, 3), of length 1.
        texture: (V, 2), u and v; zeros where `textured` is False.
        corners: (F, 3) int, counterclockwise seen from outside.
        textured: whether there are texture coordinates.
        exact: whether it must not be simplified, since light falls on each of its vertices.
    """

    positions: Floats
    normals: Floats
    texture: Floats
    corners: Ints
    textured: bool
    exact: bool = False


class Packed(msgspec.Struct, frozen=True, rename="camel"):
    """One mesh in a file of meshes: where its arrays begin, and what their integers mean.

    Attributes:
        positions: offset of uint16 [3][vertices]; metres are low + span · integer / 65535.
        normals: offset of int16 [2][vertices], octahedral, ± 2047.
        texture: offset of uint16 [2][vertices], as `positions`; −1 for none.
        corners: offset of the indices, uint16 or, above 65536 vertices, uint32. Each is the
            difference to the one before, modulo the type's range.
    """

    vertices: int
    triangles: int
    low: list[float]
    span: list[float]
    texture_low: list[float]
    texture_span: list[float]
    positions: int
    normals: int
    texture: int
    corners: int


def from_model(model: Any, mesh: int) -> Mesh:
    """A mesh of MuJoCo's model as its renderer draws it, equal corners joined."""
    first = model.mesh_faceadr[mesh]
    faces = slice(first, first + model.mesh_facenum[mesh])
    start = model.mesh_vertadr[mesh]
    vertices = model.mesh_vert[start : start + model.mesh_vertnum[mesh]]
    positions = vertices[model.mesh_face[faces]]
    start = model.mesh_normaladr[mesh]
    every = model.mesh_normal[start : start + model.mesh_normalnum[mesh]]
    normals = every[model.mesh_facenormal[faces]]
    start = model.mesh_texcoordadr[mesh]
    textured = bool(start >= 0)
    texture = np.zeros((*positions.shape[:2], 2))
    if textured:
        coordinates = model.mesh_texcoord[start : start + model.mesh_texcoordnum[mesh]]
        texture = coordinates[model.mesh_facetexcoord[faces]]
    else:
        normals = _flattened(positions, normals)
    return joined(positions, _smoothed(positions, normals), texture, textured)


def _flattened(positions: Floats, normals: Floats) -> Floats:
    """Normals (F, 3, 3) of corners, those of a triangle where they differ much from it."""
    edges = positions[:, 1:] - positions[:, :1]
    flat = np.cross(edges[:, 0], edges[:, 1])
    flat = _unit(flat)
    cosine = np.einsum("fvc,fc->fv", normals, flat)
    return np.where((cosine < _SHARP)[..., None], flat[:, None], normals)


def _smoothed(positions: Floats, normals: Floats) -> Floats:
    """Normals (F, 3, 3) of corners, averaged over those at the same place and on one surface."""
    edges = positions[:, 1:] - positions[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    weight = np.repeat(np.maximum(area, 1e-12), 3)
    flat = normals.reshape(-1, 3).astype(np.float64)
    _, place = np.unique(positions.reshape(-1, 3), axis=0, return_inverse=True)
    count = len(flat)
    at_place = csr_matrix((np.ones(count), (np.arange(count), place.ravel())))
    pairs = (at_place @ at_place.T).tocoo()
    cosine = np.einsum("ij,ij->i", flat[pairs.row], flat[pairs.col])
    one = pairs.row[cosine > CREASE]
    other = pairs.col[cosine > CREASE]
    found = csr_matrix((weight[other], (one, other)), shape=(count, count)) @ flat
    # Sums of the same numbers in another order must be the same vertex.
    return _unit(np.rint(_unit(found) * 4000)).reshape(normals.shape)


def _unit(vectors: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-30)


def joined(
    positions: Floats, normals: Floats, texture: Floats, textured: bool, exact: bool = False
) -> Mesh:
    """The mesh of triangles' corners (F, 3, …), where corners that are equal become one vertex."""
    corners = np.concatenate([positions, normals, texture], -1).reshape(-1, 8).astype(np.float32)
    found, first, where = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    found = found[order]
    return Mesh(
        positions=found[:, :3].astype(np.float64),
        normals=found[:, 3:6].astype(np.float64),
        texture=found[:, 6:].astype(np.float64),
        corners=rank[where.ravel()].reshape(-1, 3),
        textured=textured,
        exact=exact,
    )


def simplified(
    meshes: Mapping[str, Mesh], packages: Path, tolerance: float = TOLERANCE
) -> dict[str, Mesh]:
    """Each mesh with as few triangles as `tolerance` (metres) allows, in a cache's order.

    Args:
        packages: folder with node_modules (`vendor.install`).

    Raises:
        TutorialError: node is missing or meshoptimizer fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_plan(folder, meshes, tolerance)
        _run_node(packages, folder)
        return {name: _read_simplified(folder / name, mesh) for name, mesh in meshes.items()}


def _write_plan(folder: Path, meshes: Mapping[str, Mesh], tolerance: float) -> None:
    plan = []
    for name, mesh in meshes.items():
        attributes = np.hstack([mesh.normals, mesh.texture])
        (folder / f"{name}.positions").write_bytes(mesh.positions.astype("<f4").tobytes())
        (folder / f"{name}.attributes").write_bytes(attributes.astype("<f4").tobytes())
        (folder / f"{name}.corners").write_bytes(mesh.corners.astype("<u4").tobytes())
        plan.append({"name": name, "tolerance": 0 if mesh.exact else tolerance})
    write_json(folder / "meshes.json", {"weights": WEIGHTS, "meshes": plan})


def _run_node(packages: Path, folder: Path) -> None:
    # A module looks for packages from where it lies.
    script = packages / "simplify.mjs"
    script.write_bytes((PAGE / "tools/simplify.mjs").read_bytes())
    try:
        subprocess.run(
            ["node", str(script), str(folder)],
            check=True,
            capture_output=True,
            timeout=600,
        )
    except FileNotFoundError as e:
        raise TutorialError(
            "node is not installed. Install Node.js 20 or newer, on Debian: apt-get install nodejs"
        ) from e
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
        reason = " ".join((e.stderr or b"").decode(errors="replace").split())[-500:]
        raise TutorialError(f"meshoptimizer failed: {reason}. Build again.") from e


def _read_simplified(path: Path, mesh: Mesh) -> Mesh:
    corners = np.fromfile(f"{path}.corners", "<u4").astype(np.int64).reshape(-1, 3)
    kept = np.fromfile(f"{path}.kept", "<u4").astype(np.int64)
    return Mesh(
        mesh.positions[kept],
        mesh.normals[kept],
        mesh.texture[kept],
        corners,
        mesh.textured,
        mesh.exact,
    )


def pack(meshes: Sequence[tuple[str, Mesh]]) -> bytes:
    """One file of several meshes.

    Four bytes hold the length of a JSON object: name → `Packed`. The JSON is padded with spaces to
    a multiple of four bytes, and offsets count from its end.
    """
    parts: list[bytes] = []
    header = {name: _packed(mesh, parts) for name, mesh in meshes}
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 4)
    return len(text).to_bytes(4, "little") + text + b"".join(parts)


def _packed(mesh: Mesh, parts: list[bytes]) -> Packed:
    low, span, positions = _quantised(mesh.positions)
    texture_low, texture_span, texture = _quantised(mesh.texture)
    wide = len(mesh.positions) > 2**16
    # Differences of neighbours compress better than the numbers themselves.
    corners = np.diff(mesh.corners.ravel(), prepend=0)
    index = corners.astype("<u4" if wide else "<u2")
    return Packed(
        vertices=len(mesh.positions),
        triangles=len(mesh.corners),
        low=low,
        span=span,
        texture_low=texture_low,
        texture_span=texture_span,
        positions=_append(parts, positions),
        normals=_append(parts, _octahedral(mesh.normals)),
        texture=_append(parts, texture) if mesh.textured else -1,
        corners=_append(parts, index),
    )


def _append(parts: list[bytes], array: Any) -> int:
    """Add an array, padded to four bytes; where it begins."""
    start = sum(map(len, parts))
    content = array.tobytes()
    parts.append(content + bytes(-len(content) % 4))
    return start


def _quantised(values: Floats) -> tuple[list[float], list[float], Any]:
    """Low and span of each column, and (columns, V) uint16 between them, as differences."""
    low = values.min(0).astype(np.float64)
    span = values.max(0) - low
    span[span <= 0] = 1
    integers = np.rint((values - low) / span * _FINE_POSITION).astype(np.int64)
    return low.tolist(), span.tolist(), _differences(integers.T, "<u2")


def _octahedral(normals: Floats) -> Any:
    """(2, V) int16, differences of the octahedral map of unit vectors (Meyer et al., 2010)."""
    vectors = _unit(normals)
    folded = vectors[:, :2] / np.maximum(np.abs(vectors).sum(1, keepdims=True), 1e-30)
    sign = np.where(folded >= 0, 1, -1)
    below = (1 - np.abs(folded[:, ::-1])) * sign
    folded = np.where(vectors[:, 2:] < 0, below, folded)
    return _differences(np.rint(folded * _FINE_NORMAL).astype(np.int64).T, "<i2")


def _differences(rows: Ints, kind: str) -> Any:
    """Each number less the one before in its row; they wrap around like the type."""
    return np.diff(rows, prepend=0, axis=1).astype(kind)
