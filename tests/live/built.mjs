// The page that the tests look at: `vla-tutorial live build --out _build/live --vectors`, or the folder in LIVE.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { join, resolve } from "node:path";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const FOLDER = resolve(process.env.LIVE ?? join(ROOT, "_build", "live"));

if (!existsSync(join(FOLDER, "vectors"))) {
  throw new Error(`${FOLDER} has no vectors. Build it: vla-tutorial live build --out ${FOLDER} --vectors`);
}

/** The page's address for modules in Node, and how its files are read there. */
export const BASE = pathToFileURL(FOLDER).href;
export const read = async (url) => new Uint8Array(readFileSync(fileURLToPath(url)));

/** What was built: tests look at its first suite. */
export const MANIFEST = JSON.parse(readFileSync(join(FOLDER, "data", "manifest.json"), "utf8"));
export const [SUITE] = MANIFEST.suites;

/** The page's own modules, as they are in the repository. */
export const page = (name) => import(new URL(`../../vla_tutorial/live/page/${name}`, import.meta.url).href);

/** Golden vectors of a task: its episodes, with facts and arrays by row. */
export const vectors = (task) => golden(task, "episodes");

/** Its perturbed starts. */
export const starts = (task) => golden(task, "starts");

/** Moves under other control. */
export const controls = (task) => golden(task, "controls");

/** Its random layouts. */
export const layouts = (task) => golden(task, "layouts");

function golden(task, kind) {
  const file = join(FOLDER, "vectors", `${SUITE.suite}_task${task}`);
  const about = JSON.parse(readFileSync(`${file}.json`, "utf8"));
  const stored = readFileSync(`${file}.bin`);
  const numbers = new Float64Array(stored.buffer.slice(stored.byteOffset, stored.byteOffset + stored.length));
  return about[kind].map((episode) => {
    const found = {};
    for (const [name, entry] of Object.entries(episode)) {
      if (entry?.shape === undefined) found[name] = entry;
      else found[name] = rows(numbers, entry);
    }
    return found;
  });
}

function rows(numbers, { start, shape }) {
  if (shape.length === 1) return [numbers.slice(start, start + shape[0])];
  const width = shape.slice(1).reduce((a, b) => a * b, 1);
  return Array.from({ length: shape[0] }, (_, i) => numbers.slice(start + i * width, start + (i + 1) * width));
}

/** Numbers of the tasks that were built. */
export const tasks = () => SUITE.tasks.map((entry) => entry.task);
