// From a place in a shown picture to a ray in the world. Metres, world frame.

/** @typedef {{position: number[], right: number[], up: number[], back: number[], tangent: number}} Eye */
/** @typedef {import("./types").OrbitView} OrbitView */

const FREE_FOVY = 45; // degrees, MuJoCo's free camera

/** @param {number} degrees */
const radians = (degrees) => (degrees * Math.PI) / 180;

/**
 * The robot's camera, walked around the vertical axis through a pivot.
 * @param {{position: number[], matrix: number[], fovy: number}} camera matrix: (9) row by row, columns right, up, back
 * @param {number[]} pivot (3)
 * @param {number} degrees counterclockwise seen from above
 * @returns {Eye}
 */
export function robotEye(camera, pivot, degrees) {
  const { matrix: m } = camera;
  const turn = (/** @type {number[]} */ v) => turned(v, radians(degrees));
  const away = turn(camera.position.map((x, i) => x - pivot[i]));
  return {
    position: away.map((x, i) => x + pivot[i]),
    right: turn([m[0], m[3], m[6]]),
    up: turn([m[1], m[4], m[7]]),
    back: turn([m[2], m[5], m[8]]),
    tangent: Math.tan(radians(camera.fovy) / 2),
  };
}

/** @param {number[]} v @param {number} angle about the vertical axis */
function turned([x, y, z], angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [c * x - s * y, s * x + c * y, z];
}

/** The reader's own camera. @param {OrbitView} view @returns {Eye} */
export function freeEye({ azimuth, elevation, distance, lookat }) {
  const [a, e] = [radians(azimuth), radians(elevation)];
  const forward = [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)];
  return {
    position: lookat.map((x, i) => x - distance * forward[i]),
    right: [Math.sin(a), -Math.cos(a), 0],
    up: [-Math.sin(e) * Math.cos(a), -Math.sin(e) * Math.sin(a), Math.cos(e)],
    back: forward.map((x) => -x),
    tangent: Math.tan(radians(FREE_FOVY) / 2),
  };
}

/**
 * The point under a place of the picture at a depth along the camera's axis.
 * @param {Eye} eye
 * @param {number} x 0 left … 1 right, as an unmirrored camera sees it
 * @param {number} y 0 top … 1 bottom
 * @param {number} depth
 */
export function pointAt(eye, x, y, depth) {
  const across = (2 * x - 1) * eye.tangent * depth;
  const above = (1 - 2 * y) * eye.tangent * depth;
  return eye.position.map((p, i) => p + across * eye.right[i] + above * eye.up[i] - depth * eye.back[i]);
}

/** How far a point lies in front of the camera. @param {Eye} eye @param {number[]} point */
export function depthOf(eye, point) {
  return -point.reduce((sum, p, i) => sum + (p - eye.position[i]) * eye.back[i], 0);
}
