/** What must be painted again: where things are now, and the rectangles of the picture that they cover. */
import { applied } from "./renderer_view.js";

/**
 * @typedef {import("./renderer.js").Instance} Instance
 * @typedef {[left: number, bottom: number, right: number, top: number]} Box in pixels
 */

const GRAIN = 1e6; // poses are rounded to 1/GRAIN, so that things at rest, which creep, stay
/** Covers nothing. */
export const NOWHERE = /** @type {Box} */ ([Infinity, Infinity, -Infinity, -Infinity]);

/** Write where an instance is; whether that is elsewhere than before. @param {Instance} one @param {Float64Array} xpos @param {Float64Array} xmat */
export function placed(one, xpos, xmat) {
  let changed = false;
  for (let i = 0; i < 9; i++) {
    const now = Math.fround(Math.round(xmat[9 * one.body + i] * GRAIN) / GRAIN);
    changed ||= now !== one.turn[i];
    one.turn[i] = now;
  }
  for (let i = 0; i < 3; i++) {
    const at = xpos[3 * one.body + i] + (one.move ? one.move[i] : 0);
    const now = Math.fround(Math.round(at * GRAIN) / GRAIN);
    changed ||= now !== one.shift[i];
    one.shift[i] = now;
  }
  return changed;
}

/** The pixels that an instance can cover. @param {Instance} one @param {Float32Array} m @param {number} width @param {number} height @returns {Box} */
export function covered(one, m, width, height) {
  const { low, high } = one.part.part;
  let box = NOWHERE;
  for (let corner = 0; corner < 8; corner++) {
    const local = [0, 1, 2].map((i) => ((corner >> i) & 1 ? high[i] : low[i]));
    const [x, y, z] = applied(one.turn, local).map((at, i) => at + one.shift[i]);
    const w = m[3] * x + m[7] * y + m[11] * z + m[15];
    if (w <= 1e-3) return [0, 0, width, height]; // it reaches behind the camera
    const column = (((m[0] * x + m[4] * y + m[8] * z + m[12]) / w + 1) / 2) * width;
    const row = (((m[1] * x + m[5] * y + m[9] * z + m[13]) / w + 1) / 2) * height;
    box = around(box, [column - 1, row - 1, column + 1, row + 1]);
  }
  return inside(box, width, height);
}

/** The box around two. @param {Box} a @param {Box} b @returns {Box} */
export function around(a, b) {
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}

/** Whole pixels, within the picture. @param {Box} box @param {number} width @param {number} height @returns {Box} */
export function inside([left, bottom, right, top], width, height) {
  return [
    Math.max(0, Math.floor(left)),
    Math.max(0, Math.floor(bottom)),
    Math.min(width, Math.ceil(right)),
    Math.min(height, Math.ceil(top)),
  ];
}

/** @param {Box} a @param {Box} b */
export function overlap(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
