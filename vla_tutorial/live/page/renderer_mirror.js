/** What a mirror shows, and what is drawn only while a joint is turned. */
import { applied, appliedBack } from "./renderer_view.js";

/**
 * @typedef {import("./renderer.js").Instance} Instance
 * @typedef {import("./renderer_view.js").Camera} Camera
 */

const THIN = 1e-4; // metres from its plane within which a box' side is taken for the mirror

/**
 * A mirror as it stands: null where the camera is behind it. `plane`: its normal, and the normal times
 * a point of it; what is in front is reflected. `surface`: the same for the mirror itself, a little
 * lower. `matrix`: world → clip space of what is seen in it. `eye`: where the camera seems to be.
 * @param {Instance} glass @param {Float32Array} projection @param {Camera} camera
 */
export function mirrorOf(glass, projection, camera) {
  const { mirror, place, turn } = glass.part.part;
  const [reflectance, , , height] = mirror;
  const local = [turn[2], turn[5], turn[8]];
  const n = applied(glass.turn, local);
  const point = applied(glass.turn, place.map((x, i) => x + height * local[i])).map((x, i) => x + glass.shift[i]);
  const d = dot(n, point);
  const above = dot(n, camera.position) - d;
  if (above <= 0) return null;
  const eye = camera.position.map((x, i) => x - 2 * above * n[i]);
  /** Column by column: x → x − 2 (n·x − d) n. */
  const reflected = [0, 1, 2].map((c) => [0, 1, 2].map((r) => Number(r === c) - 2 * n[r] * n[c]).concat(0));
  reflected.push([2 * d * n[0], 2 * d * n[1], 2 * d * n[2], 1]);
  const matrix = Float32Array.from(reflected.flatMap((column) => [0, 1, 2, 3].map((row) =>
    column.reduce((sum, x, k) => sum + projection[4 * k + row] * x, 0))));
  return { reflectance, eye, plane: [...n, d], surface: [...n, d - THIN], matrix };
}

/** Whether something is drawn: its hinge is turned far enough, or it has none.
 * @param {import("./assets.js").Switch | null} on @param {import("./simulator.js").Pose} pose */
export function switchedOn(on, { xmat }) {
  if (!on) return true;
  const column = (/** @type {number} */ body, /** @type {number} */ c) => [0, 3, 6].map((row) => xmat[9 * body + row + c]);
  const parent = xmat.subarray(9 * on.parent, 9 * on.parent + 9);
  /** The body's rotation since its hinge was at 0: columns. */
  const turned = [0, 1, 2].map((c) => appliedBack(on.rest, appliedBack(parent, column(on.body, c))));
  const [x, y, z] = turned;
  const twice = dot(on.axis, [y[2] - z[1], z[0] - x[2], x[1] - y[0]]);
  return Math.atan2(twice, x[0] + y[1] + z[2] - 1) >= on.threshold;
}

/** @param {number[]} a @param {number[]} b */
function dot(a, b) {
  return a.reduce((sum, x, i) => sum + x * b[i], 0);
}
