// What is drawn, gathered: one part for each body and texture, with vertices in the body's frame.
import { applied } from "./renderer_view.js";

/**
 * @typedef {import("./assets.js").Mesh} Mesh
 * @typedef {import("./assets.js").Geom} Geom
 */

/**
 * Triangles of one body with one texture. `low` and `high`: corners of the box around them.
 * `opacity`: below OPAQUE the part is seen through. `mirror`: where the scene is seen in it, and
 * `switch`: when it is drawn, as the exporter describes them; `place` and `turn`: of the mirror.
 * @typedef {{body: number, texture: string, opacity: number, mirror: number[],
 *   switch: import("./assets.js").Switch | null, place: number[], turn: number[],
 *   positions: Float32Array, normals: Float32Array,
 *   colours: Float32Array, materials: Float32Array, coordinates: Float32Array | null,
 *   corners: Uint32Array, low: number[], high: number[]}} Part
 */

/** MuJoCo takes parts for see-through below it (render_gl3.c). */
export const OPAQUE = 0.995;

/** What is seen through, reflects or can be switched off is a part of its own. @param {Geom} geom @param {number} number */
function keyOf({ body, texture, colour, mirror, switch: on }, number) {
  const alone = colour[3] < OPAQUE || mirror.length || on;
  return `${body} ${texture} ${alone ? number : ""}`;
}

/** @param {import("./assets.js").Task} task @returns {Part[]} */
export function partsOf(task) {
  /** @type {Map<string, {geom: Geom, mesh: Mesh}[]>} */
  const groups = new Map();
  for (const [number, geom] of task.scene.geoms.entries()) {
    const mesh = task.shapes.get(geom.file)?.get(geom.mesh);
    if (!mesh) continue;
    const key = keyOf(geom, number);
    groups.set(key, [...(groups.get(key) ?? []), { geom, mesh }]);
  }
  return [...groups.values()].map(joined);
}

/** @param {{geom: Geom, mesh: Mesh}[]} members @returns {Part} */
function joined(members) {
  const { body, texture, colour, mirror, position: place, matrix: turn, switch: on } = members[0].geom;
  const count = members.reduce((sum, { mesh }) => sum + mesh.positions.length / 3, 0);
  const positions = new Float32Array(3 * count);
  const normals = new Float32Array(3 * count);
  const colours = new Float32Array(3 * count);
  const materials = new Float32Array(3 * count);
  const coordinates = texture ? new Float32Array(2 * count) : null;
  const corners = new Uint32Array(members.reduce((sum, { mesh }) => sum + mesh.corners.length, 0));
  let first = 0;
  let corner = 0;
  for (const { geom, mesh } of members) {
    const vertices = mesh.positions.length / 3;
    for (let i = 0; i < vertices; i++) {
      const at = 3 * (first + i);
      const place = applied(geom.matrix, mesh.positions.subarray(3 * i, 3 * i + 3));
      positions.set(place.map((x, axis) => x + geom.position[axis]), at);
      normals.set(applied(geom.matrix, mesh.normals.subarray(3 * i, 3 * i + 3)), at);
      colours.set(geom.colour.slice(0, 3), at);
      materials.set([geom.emission, geom.specular, 128 * geom.shininess], at);
    }
    if (coordinates && mesh.texture) coordinates.set(mesh.texture, 2 * first);
    for (const index of mesh.corners) corners[corner++] = first + index;
    first += vertices;
  }
  const looks = { body, texture, opacity: Math.min(colour[3], 1), mirror, switch: on, place, turn };
  return { ...looks, positions, normals, colours, materials, coordinates, corners, ...boxAround(positions) };
}

/** @param {Float32Array} positions */
function boxAround(positions) {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < positions.length; i++) {
    low[i % 3] = Math.min(low[i % 3], positions[i]);
    high[i % 3] = Math.max(high[i % 3], positions[i]);
  }
  return { low, high };
}

/**
 * Where a ray in the part's frame meets it first: a distance, or Infinity (Möller and Trumbore).
 * @param {Part} part @param {number[]} origin @param {number[]} direction
 */
export function hit(part, origin, direction) {
  if (!meetsBox(part, origin, direction)) return Infinity;
  const { positions: p, corners } = part;
  const [ox, oy, oz] = origin;
  const [dx, dy, dz] = direction;
  let nearest = Infinity;
  for (let i = 0; i < corners.length; i += 3) {
    const a = 3 * corners[i];
    const b = 3 * corners[i + 1];
    const c = 3 * corners[i + 2];
    const [ux, uy, uz] = [p[b] - p[a], p[b + 1] - p[a + 1], p[b + 2] - p[a + 2]];
    const [vx, vy, vz] = [p[c] - p[a], p[c + 1] - p[a + 1], p[c + 2] - p[a + 2]];
    const [hx, hy, hz] = [dy * vz - dz * vy, dz * vx - dx * vz, dx * vy - dy * vx];
    const det = ux * hx + uy * hy + uz * hz;
    if (det < 1e-14) continue; // seen from behind, or from its edge
    const [sx, sy, sz] = [ox - p[a], oy - p[a + 1], oz - p[a + 2]];
    const u = (sx * hx + sy * hy + sz * hz) / det;
    if (u < 0 || u > 1) continue;
    const [qx, qy, qz] = [sy * uz - sz * uy, sz * ux - sx * uz, sx * uy - sy * ux];
    const v = (dx * qx + dy * qy + dz * qz) / det;
    if (v < 0 || u + v > 1) continue;
    const along = (vx * qx + vy * qy + vz * qz) / det;
    if (along > 0 && along < nearest) nearest = along;
  }
  return nearest;
}

/** @param {Part} part @param {number[]} origin @param {number[]} direction */
function meetsBox({ low, high }, origin, direction) {
  let enter = 0;
  let leave = Infinity;
  for (let i = 0; i < 3; i++) {
    const first = (low[i] - origin[i]) / direction[i];
    const second = (high[i] - origin[i]) / direction[i];
    if (Number.isNaN(first) || Number.isNaN(second)) continue;
    enter = Math.max(enter, Math.min(first, second));
    leave = Math.min(leave, Math.max(first, second));
  }
  return enter <= leave;
}
