// Cameras: where they stand, what they project, and rays through their pictures. Matrices are 3 × 3,
// row by row; a camera looks along its negative z axis, x is to its right and y up.

/**
 * @typedef {{position: number[], matrix: number[], fovy: number}} Camera
 * @typedef {{azimuth: number, elevation: number, distance: number, lookat: number[]}} FreeView
 *   degrees and metres, as MuJoCo's viewer has them
 * @typedef {"agentview" | FreeView} View
 */

const FREE_FOVY = 45; // degrees, MuJoCo's visual/global/fovy
const DEGREE = Math.PI / 180;

/**
 * @param {View} view @param {import("./assets.js").Task} task
 * @param {number} degrees by which the robot's camera orbits, counterclockwise from above
 * @returns {Camera}
 */
export function cameraOf(view, task, degrees) {
  if (view !== "agentview") return freeCamera(view);
  return degrees ? orbited(task.scene.camera, task.physics.pivot, degrees) : task.scene.camera;
}

/** @param {FreeView} view @returns {Camera} */
function freeCamera({ azimuth, elevation, distance, lookat }) {
  const a = azimuth * DEGREE;
  const e = elevation * DEGREE;
  const forward = [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)];
  const right = [Math.sin(a), -Math.cos(a), 0];
  const up = [-Math.sin(e) * Math.cos(a), -Math.sin(e) * Math.sin(a), Math.cos(e)];
  return {
    position: lookat.map((x, i) => x - distance * forward[i]),
    matrix: [0, 1, 2].flatMap((i) => [right[i], up[i], -forward[i]]),
    fovy: FREE_FOVY,
  };
}

/** @param {Camera} camera @param {number[]} pivot @param {number} degrees @returns {Camera} */
function orbited(camera, pivot, degrees) {
  const c = Math.cos(degrees * DEGREE);
  const s = Math.sin(degrees * DEGREE);
  const turn = [c, -s, 0, s, c, 0, 0, 0, 1];
  const moved = applied(turn, camera.position.map((x, i) => x - pivot[i]));
  return {
    position: moved.map((x, i) => x + pivot[i]),
    matrix: multiplied(turn, camera.matrix),
    fovy: camera.fovy,
  };
}

/** @param {ArrayLike<number>} m @param {ArrayLike<number>} v */
export function applied(m, v) {
  return [0, 1, 2].map((i) => m[3 * i] * v[0] + m[3 * i + 1] * v[1] + m[3 * i + 2] * v[2]);
}

/** The transposed matrix times a vector. @param {ArrayLike<number>} m @param {ArrayLike<number>} v */
export function appliedBack(m, v) {
  return [0, 1, 2].map((i) => m[i] * v[0] + m[3 + i] * v[1] + m[6 + i] * v[2]);
}

/** @param {ArrayLike<number>} a @param {ArrayLike<number>} b */
export function multiplied(a, b) {
  return [0, 1, 2].flatMap((i) => [0, 1, 2].map((j) => a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j]));
}

/**
 * World → clip space, column by column as OpenGL takes it.
 * @param {Camera} camera @param {number} aspect width / height @param {number} near @param {number} far
 */
export function projection(camera, aspect, near, far) {
  const focal = 1 / Math.tan((camera.fovy * DEGREE) / 2);
  const depth = [-(far + near) / (far - near), (-2 * far * near) / (far - near)];
  const m = camera.matrix;
  const shift = appliedBack(m, camera.position).map((x) => -x);
  /** Rows of the view matrix, scaled. @param {number} row @param {number} scale */
  const line = (row, scale) => [m[row], m[3 + row], m[6 + row], shift[row]].map((x) => x * scale);
  const x = line(0, focal / aspect);
  const y = line(1, focal);
  const z = line(2, depth[0]);
  const w = line(2, -1);
  z[3] += depth[1];
  return Float32Array.from([0, 1, 2, 3].flatMap((column) => [x[column], y[column], z[column], w[column]]));
}

/**
 * The ray through a point of a picture.
 * @param {Camera} camera @param {number} aspect
 * @param {number} x 0 … 1 from the picture's left @param {number} y 0 … 1 from its bottom
 * @returns {{origin: number[], direction: number[]}} direction of length 1
 */
export function rayThrough(camera, aspect, x, y) {
  const half = Math.tan((camera.fovy * DEGREE) / 2);
  const local = [(2 * x - 1) * half * aspect, (2 * y - 1) * half, -1];
  const norm = Math.hypot(...local);
  return { origin: camera.position, direction: applied(camera.matrix, local).map((c) => c / norm) };
}
