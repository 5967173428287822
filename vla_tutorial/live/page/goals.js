/**
 * LIBERO's predicates: what an episode asks for. Thresholds of joints come with the goal; the others
 * are those of LIBERO (objects/site_object.py, object_states/base_object_states.py). None asks that
 * the fingers have let go.
 */

/** @typedef {import("./assets.js").GoalPart} GoalPart */

/**
 * What predicates look at. `site` and `body` give row numbers by name; `touch` says whether a geom of
 * one list is in contact with one of the other.
 * @typedef {{
 *   v: Record<string, any>, site: (name: string) => number, body: (name: string) => number,
 *   touch: (some: string[], others: string[]) => boolean,
 * }} World
 */

const BELOW = 0.01; // metres that a region reaches further down than its box
const ABOVE = [-0.005, 0.1]; // metres of an origin above a region's half height
const NEAR = 0.03; // metres between the origins of two things, sideways

/** @type {Record<string, (world: World, part: GoalPart) => boolean>} */
const PREDICATES = {
  in: inside,
  on: (world, part) => {
    const near = part.site ? above(world, part) : over(world, part);
    return near && (!part.touching || world.touch(part.touching[0], part.touching[1]));
  },
  open: ({ v }, { joints, threshold = 0 }) => (joints ?? []).some((at) => v.qpos[at] < threshold),
  close: ({ v }, { joints, threshold = 0 }) => (joints ?? []).every((at) => v.qpos[at] > threshold),
  turnon: ({ v }, { joints, threshold = 0 }) => (joints ?? []).some((at) => v.qpos[at] >= threshold),
  turnoff: ({ v }, { joints, threshold = 0 }) => (joints ?? []).every((at) => v.qpos[at] < threshold),
};

/** @param {World} world @param {GoalPart} part */
export const holds = (world, part) => PREDICATES[part.predicate](world, part);

/** The origin lies in the region's box |R · size|, which reaches further down. @param {World} world @param {GoalPart} part */
function inside({ v, ...world }, part) {
  const site = world.site(part.site ?? "");
  const body = world.body(part.body ?? "");
  for (let i = 0; i < 3; i++) {
    const half = Math.abs(turned(v.site_xmat, site, i, part.size ?? []));
    const centre = v.site_xpos[3 * site + i];
    const at = v.xpos[3 * body + i];
    const low = centre - half - (i === 2 ? BELOW : 0);
    if (!(at > low && at < centre + half)) return false;
  }
  return true;
}

/** The origin lies over the region. LIBERO turns by the matrix, not by its transpose. @param {World} world @param {GoalPart} part */
function above({ v, ...world }, { site: name = "", body: object = "", size = [] }) {
  const site = world.site(name);
  const body = world.body(object);
  const away = [0, 1, 2].map((i) => v.xpos[3 * body + i] - v.site_xpos[3 * site + i]);
  const [x, y, z] = [0, 1, 2].map((i) => turned(v.site_xmat, site, i, away));
  const height = z - size[2];
  return height > ABOVE[0] && height < ABOVE[1] && Math.abs(x) < size[0] && Math.abs(y) < size[1];
}

/** The origin lies over that of the other thing. @param {World} world @param {GoalPart} part */
function over({ v, ...world }, { body = "", support = "" }) {
  const [x, y, z] = [0, 1, 2].map((i) => v.xpos[3 * world.body(body) + i] - v.xpos[3 * world.body(support) + i]);
  return z >= 0 && Math.hypot(x, y) < NEAR;
}

/** Row `i` of a site's matrix times a vector. @param {Float64Array} matrices @param {number} site @param {number} i @param {number[]} vector */
function turned(matrices, site, i, vector) {
  return vector.reduce((sum, x, j) => sum + matrices[9 * site + 3 * i + j] * x, 0);
}
