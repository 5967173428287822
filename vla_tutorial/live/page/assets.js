// What the page loads: the manifest, and everything of one task. Every file is compared with it.
import { LiveError } from "./errors.js";

/** The manifest's format that this page understands (`live/build.py`). */
export const FORMAT = 2;

const AGAIN = "Reload the page; if that does not help, empty the browser's cache for it.";

/**
 * @typedef {(url: string) => Promise<Uint8Array>} Read
 * @typedef {{bytes: number, sha256: string}} FileEntry
 * @typedef {{task: number, instruction: string, goal: string[][], refusals: Record<string, string>,
 *   physics: string, simulation: string, scene: string, states: string, layouts: LayoutEntry[],
 *   layoutStates: string}} TaskEntry `refusals`: conditions that do not apply, and why
 * @typedef {{seed: number, target: string, instruction: string, settleSteps: number,
 *   wide: boolean, goal: GoalPart[], fixtures: number[][]}} LayoutEntry
 * @typedef {{suite: string, stepLimit: number, initialStates: number, tasks: TaskEntry[]}
 *   & import("./conditions.js").Settings} SuiteEntry
 * @typedef {{format: number, versions: Record<string, string>, suites: SuiteEntry[],
 *   policies: Record<string, import("./policy.js").PolicyEntry>,
 *   files: Record<string, FileEntry>}} Manifest
 */

/**
 * @typedef {{predicate: string, object: string, body?: string, site?: string, size?: number[],
 *   support?: string, touching?: string[][], joints?: number[], threshold?: number}} GoalPart
 * @typedef {{name: string, body: string, start: number, radius: number, named: boolean}} Movable
 */

/**
 * `data/physics/SUITE_taskN.json`, as `live/physics_export.py` describes it.
 * @typedef {{bodies: string[], meshes: string[], armPositions: number[], armVelocities: number[],
 *   armActuators: number[], fingerActuators: number[], home: number[], rest: number[],
 *   fingersHome: number[], gripSite: string, fingerJoints: number[], goal: GoalPart[],
 *   basket: GoalPart | null, movables: Movable[], fixtures: string[], copied: string, pivot: number[],
 *   jointNoiseSeeds: number[], jointNoise: number[][][]}} Physics
 */

/**
 * `data/scene/SUITE_taskN.json`, as `live/drawn.py` describes it.
 * @typedef {{body: number, file: string, mesh: string, position: number[], matrix: number[],
 *   colour: number[], texture: string, emission: number, specular: number, shininess: number,
 *   mirror: number[], switch: Switch | null}} Geom
 * @typedef {{body: number, parent: number, rest: number[], axis: number[], threshold: number}} Switch
 * @typedef {{headlight: boolean, directional: boolean, position: number[], direction: number[], ambient: number[],
 *   diffuse: number[], specular: number[], cutoff: number, exponent: number,
 *   attenuation: number[]}} Light
 * @typedef {{camera: {position: number[], matrix: number[], fovy: number}, near: number, far: number,
 *   lights: Light[], textures: Record<string, {file: string, srgb: boolean}>, geoms: Geom[]}} Scene
 */

/**
 * One mesh: positions and normals (3 a vertex), texture coordinates (2 a vertex) or null, corners.
 * @typedef {{positions: Float32Array, normals: Float32Array, texture: Float32Array | null,
 *   corners: Uint32Array}} Mesh
 */

/**
 * Everything of one task. `meshes`: collision meshes by file name. `shapes`: drawn meshes, by file
 * and name. `textures`: by name; empty where pictures cannot be decoded. `states`: LIBERO's saved
 * initial states (time, qpos, qvel). `layouts`: random ones, by the seeds of `sweep --layouts`.
 * @typedef {{task: number, suite: string, instruction: string, goal: string[][], stepLimit: number,
 *   physicsXml: string, physics: Physics, meshes: Map<string, Uint8Array>, scene: Scene,
 *   shapes: Map<string, Map<string, Mesh>>, textures: Map<string, ImageBitmap>,
 *   states: Float64Array[], layouts: (LayoutEntry & {state: Float64Array})[]}} Task
 */

/** @type {Read} */
export async function fetchBytes(url) {
  let answer;
  try {
    answer = await fetch(url);
  } catch (cause) {
    throw new LiveError(`${url} could not be loaded. Check the network and reload the page.`, { cause });
  }
  if (!answer.ok) throw new LiveError(`${url} is missing (${answer.status}). ${AGAIN}`);
  return new Uint8Array(await answer.arrayBuffer());
}

/**
 * @param {string} base address of the page's folder, without a slash at the end
 * @param {{read?: Read}} [options]
 * @returns {Promise<Manifest>}
 */
export async function loadManifest(base, { read = fetchBytes } = {}) {
  const manifest = json(await read(`${base}/data/manifest.json`), "data/manifest.json");
  if (manifest.format !== FORMAT) {
    throw new LiveError(`The page's data have format ${manifest.format}; expected ${FORMAT}. ${AGAIN}`);
  }
  return manifest;
}

/**
 * What the build has of a suite.
 * @param {Manifest} manifest @param {string} suite
 */
export function suiteOf({ suites }, suite) {
  const found = suites.find((one) => one.suite === suite);
  if (found) return found;
  const known = suites.map((one) => one.suite).join(", ");
  throw new LiveError(`This page has no ${suite.slice(0, 40)}; it has ${known}.`);
}

/**
 * One file that the manifest lists, compared with it.
 * @param {string} base @param {Manifest} manifest @param {string} path
 * @param {{read?: Read}} [options]
 */
export async function loadFile(base, manifest, path, { read = fetchBytes } = {}) {
  const entry = manifest.files[path];
  if (!entry) throw new LiveError(`${path} is not in the page's manifest. ${AGAIN}`);
  const content = await read(`${base}/${path}`);
  if (content.length !== entry.bytes) {
    throw new LiveError(`${path} has ${content.length} bytes; expected ${entry.bytes}. ${AGAIN}`);
  }
  // Browsers have no hash function in a page that came without encryption from another computer.
  const found = globalThis.crypto?.subtle && (await sha256(content));
  if (found && found !== entry.sha256) throw new LiveError(`${path} is damaged. ${AGAIN}`);
  return content;
}

/** @param {Uint8Array} content */
async function sha256(content) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (content)));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {string} base @param {Manifest} manifest @param {string} suite
 * @param {number} task number within the suite
 * @param {{onProgress?: (done: number, all: number) => void, pictures?: boolean, read?: Read}} [options]
 *   onProgress: bytes. pictures: whether what is drawn is loaded, too.
 * @returns {Promise<Task>}
 */
export async function loadTask(base, manifest, suite, task, options = {}) {
  const { onProgress = () => {}, pictures = true, read = fetchBytes } = options;
  const { tasks, stepLimit, initialStates } = suiteOf(manifest, suite);
  const entry = tasks.find((known) => known.task === task);
  if (!entry) {
    const known = tasks.map((one) => one.task).join(", ");
    throw new LiveError(`Unknown task ${task}; expected one of ${known}.`);
  }
  let done = 0;
  let all = 0;
  /** @param {string} path */
  const load = async (path) => {
    all += manifest.files[path]?.bytes ?? 0;
    const content = await loadFile(base, manifest, path, { read });
    done += content.length;
    onProgress(done, all);
    return content;
  };
  const [xml, about, states, layouts, drawn] = await Promise.all(
    [entry.physics, entry.simulation, entry.states, entry.layoutStates, entry.scene].map(load),
  );
  const layoutStates = rows(layouts, entry.layouts.length, entry.layoutStates);
  /** @type {Physics} */
  const physics = json(about, entry.simulation);
  /** @type {Scene} */
  const scene = json(drawn, entry.scene);
  const files = pictures ? [...new Set(scene.geoms.map((geom) => geom.file))] : [];
  const textures = pictures && "createImageBitmap" in globalThis ? Object.entries(scene.textures) : [];
  const [meshes, shapes, bitmaps] = await Promise.all([
    byName(physics.meshes, async (name) => load(`data/meshes/${name}`)),
    byName(files, async (file) => unpack(await load(file))),
    byName(textures.map(([name]) => name), async (name) => bitmap(await load(scene.textures[name].file))),
  ]);
  return {
    task,
    suite,
    instruction: entry.instruction,
    goal: entry.goal,
    stepLimit,
    physicsXml: new TextDecoder().decode(xml),
    physics,
    meshes,
    scene,
    shapes,
    textures: bitmaps,
    states: rows(states, initialStates, entry.states),
    layouts: entry.layouts.map((layout, i) => ({ ...layout, state: layoutStates[i] })),
  };
}

/**
 * @template T @param {string[]} names @param {(name: string) => Promise<T>} load
 * @returns {Promise<Map<string, T>>}
 */
async function byName(names, load) {
  const found = await Promise.all(names.map(load));
  return new Map(names.map((name, i) => [name, found[i]]));
}

/** @param {Uint8Array} content @param {string} path */
function json(content, path) {
  try {
    return JSON.parse(new TextDecoder().decode(content));
  } catch (cause) {
    throw new LiveError(`${path} is damaged. ${AGAIN}`, { cause });
  }
}

/** @param {Uint8Array} content */
function bitmap(content) {
  const blob = new Blob([/** @type {BlobPart} */ (content)], { type: "image/webp" });
  return createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

/** @param {Uint8Array} content @param {number} count @param {string} path */
function rows(content, count, path) {
  const width = content.length / count / 8;
  if (!Number.isInteger(width)) throw new LiveError(`${path} is damaged. ${AGAIN}`);
  const all = new Float64Array(content.slice().buffer);
  return Array.from({ length: count }, (_, i) => all.slice(i * width, (i + 1) * width));
}

/**
 * The meshes of a file that `live/meshes.py` packed.
 * @param {Uint8Array} content
 * @returns {Map<string, Mesh>}
 */
export function unpack(content) {
  const bytes = content.slice().buffer;
  const length = new DataView(bytes).getUint32(0, true);
  /** @type {Record<string, Packed>} */
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  const meshes = new Map();
  for (const [name, packed] of Object.entries(header)) meshes.set(name, unpackMesh(bytes, 4 + length, packed));
  return meshes;
}

/**
 * @typedef {{vertices: number, triangles: number, low: number[], span: number[],
 *   textureLow: number[], textureSpan: number[], positions: number, normals: number,
 *   texture: number, corners: number}} Packed
 */

/** @param {ArrayBuffer} bytes @param {number} start @param {Packed} packed @returns {Mesh} */
function unpackMesh(bytes, start, packed) {
  const { vertices: count, triangles } = packed;
  const wide = count > 2 ** 16;
  const stored = new (wide ? Uint32Array : Uint16Array)(bytes, start + packed.corners, 3 * triangles);
  const corners = new Uint32Array(summed(stored));
  const texture = packed.texture < 0 ? null
    : scaled(bytes, start + packed.texture, count, packed.textureLow, packed.textureSpan);
  return {
    positions: scaled(bytes, start + packed.positions, count, packed.low, packed.span),
    normals: unitVectors(bytes, start + packed.normals, count),
    texture,
    corners,
  };
}

/**
 * Running sums, in the array's own arithmetic; the array is overwritten.
 * @template {Uint16Array | Uint32Array | Int16Array} T @param {T} differences @returns {T}
 */
function summed(differences) {
  for (let i = 1; i < differences.length; i++) differences[i] += differences[i - 1];
  return differences;
}

/**
 * @param {ArrayBuffer} bytes @param {number} offset @param {number} count
 * @param {number[]} low @param {number[]} span
 */
function scaled(bytes, offset, count, low, span) {
  const columns = low.length;
  const found = new Float32Array(columns * count);
  for (let c = 0; c < columns; c++) {
    const integers = summed(new Uint16Array(bytes, offset + 2 * c * count, count));
    for (let i = 0; i < count; i++) found[columns * i + c] = low[c] + (span[c] * integers[i]) / 65535;
  }
  return found;
}

/** Octahedral map (Meyer et al., 2010). @param {ArrayBuffer} bytes @param {number} offset @param {number} count */
function unitVectors(bytes, offset, count) {
  const first = summed(new Int16Array(bytes, offset, count));
  const second = summed(new Int16Array(bytes, offset + 2 * count, count));
  const found = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const u = first[i] / 2047;
    const v = second[i] / 2047;
    const z = 1 - Math.abs(u) - Math.abs(v);
    const x = z < 0 ? (1 - Math.abs(v)) * (u >= 0 ? 1 : -1) : u;
    const y = z < 0 ? (1 - Math.abs(u)) * (v >= 0 ? 1 : -1) : v;
    const norm = Math.hypot(x, y, z) || 1;
    found.set([x / norm, y / norm, z / norm], 3 * i);
  }
  return found;
}
