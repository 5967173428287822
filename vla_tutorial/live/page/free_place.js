// Where the second can stands: `free_place` of vla_tutorial/sim/rendered_copy.py, the same numbers.

const MARGIN = 0.05; // metres
const NEAR = 1; // metres from the original within which an object counts
const GRID = 0.01; // metres

/**
 * @param {import("./assets.js").Movable[]} movables @param {string} name of the object
 * @param {string[]} bodies @param {Float64Array} xpos (3 a body) metres
 * @returns {[number, number]} metres, world frame
 */
export function freePlace(movables, name, bodies, xpos) {
  const placed = movables.map(({ body, radius, name: own }) => {
    const at = 3 * bodies.indexOf(body);
    return { own, radius, x: xpos[at], y: xpos[at + 1], z: xpos[at + 2] };
  });
  const home = placed.find((one) => one.own === name) ?? placed[0];
  const near = placed.filter((one) => Math.hypot(one.x - home.x, one.y - home.y, one.z - home.z) < NEAR);
  const columns = ticks(near.map((one) => one.x));
  const rows = ticks(near.map((one) => one.y));
  /** @type {[number, number]} */
  let best = [columns[0], rows[0]];
  let most = -Infinity;
  for (const x of columns) {
    for (const y of rows) {
      const clearance = Math.min(...near.map((one) => Math.hypot(x - one.x, y - one.y) - one.radius));
      if (clearance > most) {
        most = clearance;
        best = [x, y];
      }
    }
  }
  return best;
}

/** numpy.arange from the lowest less the margin to the highest and the margin. @param {number[]} values */
function ticks(values) {
  const low = Math.min(...values) - MARGIN;
  const high = Math.max(...values) + MARGIN;
  const step = low + GRID - low;
  const count = Math.ceil((high - low) / GRID);
  return Array.from({ length: count }, (_, i) => low + i * step);
}
