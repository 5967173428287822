// A sweep in the page: which episodes there are, running them, the table, and a shard that
// `vla-tutorial join` takes.

/** @typedef {import("./types").SweepPlan} SweepPlan */
/** @typedef {import("./types").EpisodeKey} EpisodeKey */
/** @typedef {import("./types").EpisodeRow} EpisodeRow */
/** @typedef {import("./types").TableRow} TableRow */
/** @typedef {import("./types").SweepStore} SweepStore */
/** @typedef {{row: EpisodeRow, log: string}} Ended An episode's row, and its steps.jsonl. */

export const PUBLISHED = "published";

/** How often an episode is tried that ends in an error. */
export const ATTEMPTS = 2;

/** @param {EpisodeKey} key */
const nameOf = ({ condition, task, init }) => `${condition}/${task}_${init}`;

/** Where an episode's record lies below the sweep's folder. @param {EpisodeKey} key */
export const folderOf = (key) => `episodes/${nameOf(key)}`;

/**
 * Every episode once. One start under all conditions, then the next, so that comparisons are paired
 * from the beginning.
 * @param {SweepPlan} plan
 * @returns {EpisodeKey[]}
 */
export function episodesOf(plan) {
  const found = [];
  for (const init of plan.inits) {
    for (const task of plan.tasks) {
      for (const condition of plan.conditions) found.push({ condition, task, init });
    }
  }
  return found;
}

/** Episodes that have not ended in success or failure. @param {SweepPlan} plan @param {EpisodeRow[]} rows */
export function episodesLeft(plan, rows) {
  const ended = new Set(rows.filter((row) => row.outcome !== "error").map(nameOf));
  return episodesOf(plan).filter((key) => !ended.has(nameOf(key)));
}

/**
 * Run what is left of a sweep. Each row is kept before the next episode begins.
 * @param {object} given
 * @param {SweepPlan} given.plan
 * @param {SweepStore} given.store
 * @param {(key: EpisodeKey) => Promise<Ended>} given.runEpisode rejects where something broke
 * @param {AbortSignal} given.signal stops it; the episode that is running is run again later
 * @param {(row: EpisodeRow) => void} given.onRow
 */
export async function runSweep({ plan, store, runEpisode, signal, onRow }) {
  for (const key of episodesLeft(plan, await store.rows(plan.id))) {
    if (signal.aborted) return;
    const ended = await attempt(plan, key, runEpisode, signal);
    if (ended === null) return;
    await store.putRow(plan.id, ended.row, ended.log);
    onRow(ended.row);
  }
}

/**
 * @param {SweepPlan} plan @param {EpisodeKey} key
 * @param {(key: EpisodeKey) => Promise<Ended>} runEpisode @param {AbortSignal} signal
 * @returns {Promise<Ended | null>} null where it was stopped
 */
async function attempt(plan, key, runEpisode, signal) {
  for (let tried = 1; ; tried++) {
    try {
      const ended = await runEpisode(key);
      return { ...ended, row: { ...ended.row, attempt: tried } };
    } catch (error) {
      if (signal.aborted) return null;
      if (tried === ATTEMPTS) return { row: broken(plan, key, tried, String(error)), log: "" };
    }
  }
}

/** @param {SweepPlan} plan @param {EpisodeKey} key @param {number} tried @param {string} error @returns {EpisodeRow} */
function broken(plan, key, tried, error) {
  const { condition, task, init } = key;
  const nothing = { steps: null, first_close: null, closes: null, seconds: null, folder: null };
  const outcome = /** @type {const} */ ("error");
  return { suite: plan.suite, task, init, condition, success: null, outcome, ...nothing, attempt: tried, error };
}

/**
 * The table: a row a condition, each compared with the first on the starts that both have.
 * @param {SweepPlan} plan
 * @param {EpisodeRow[]} rows
 * @param {object} statistics
 * @param {(successes: number, episodes: number) => {low: number, high: number}} statistics.wilson
 * @param {(onlyA: number, onlyB: number) => number} statistics.mcnemar
 * @returns {TableRow[]}
 */
export function sweepTable(plan, rows, { wilson, mcnemar }) {
  const planned = plan.tasks.length * plan.inits.length;
  const first = outcomes(rows, plan.conditions[0]);
  return plan.conditions.map((condition, i) => {
    const mine = outcomes(rows, condition);
    const successes = [...mine.values()].filter(Boolean).length;
    const errors = rows.filter((row) => row.condition === condition && row.outcome === "error").length;
    return {
      condition,
      planned,
      done: mine.size,
      errors,
      successes,
      interval: mine.size ? wilson(successes, mine.size) : null,
      paired: i ? comparePairs(first, mine, mcnemar) : null,
    };
  });
}

/** Start → success. @param {EpisodeRow[]} rows @param {string} condition @returns {Map<string, boolean>} */
function outcomes(rows, condition) {
  const ended = rows.filter((row) => row.condition === condition && row.success !== null);
  return new Map(ended.map((row) => [`${row.task}_${row.init}`, row.success === true]));
}

/**
 * @param {Map<string, boolean>} first @param {Map<string, boolean>} other
 * @param {(onlyA: number, onlyB: number) => number} mcnemar
 */
function comparePairs(first, other, mcnemar) {
  const common = [...first.keys()].filter((start) => other.has(start));
  if (!common.length) return null;
  const onlyFirst = common.filter((start) => first.get(start) && !other.get(start)).length;
  const onlyThis = common.filter((start) => !first.get(start) && other.get(start)).length;
  return { pairs: common.length, onlyFirst, onlyThis, pValue: mcnemar(onlyFirst, onlyThis) };
}

/**
 * The files of a shard, by path: what `vla-tutorial join`, `report` and `diagnose` read.
 * @param {SweepPlan} plan
 * @param {EpisodeRow[]} rows
 * @param {Map<string, string>} logs folder of an episode → its steps.jsonl
 * @returns {Map<string, string>}
 */
export function shardFiles(plan, rows, logs) {
  const { suite, tasks, inits, starts, conditions, about, started } = plan;
  const order = (/** @type {number[]} */ numbers) => [...numbers].sort((a, b) => a - b);
  const config = {
    format: 1,
    suite,
    tasks: order(tasks),
    inits: order(inits),
    conditions,
    wiring: { unnorm_key: null, embedded_statistics: false },
    max_steps: null,
    video: "none",
    // As in Python, only where it is not the usual. Sweeps kept by older pages lack it.
    ...(starts === "layouts" ? { starts } : {}),
    policy: about.policy,
    serving: about.serving,
    command: "the page “Live” of the website, Measure",
    versions: about.versions,
    machine: about.machine,
    started,
  };
  const files = new Map([
    ["sweep.json", `${JSON.stringify(config, null, 1)}\n`],
    ["episodes.jsonl", rows.map((row) => `${pythonJson(row)}\n`).join("")],
  ]);
  for (const [folder, log] of logs) files.set(`${folder}/steps.jsonl`, log);
  return files;
}

/** One line as Python's json.dumps(…, ensure_ascii=False) spaces it. @param {unknown} value @returns {string} */
export function pythonJson(value) {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value).filter(([, part]) => part !== undefined);
    return `{${entries.map(([key, part]) => `${JSON.stringify(key)}: ${pythonJson(part)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** Sorted numbers as "0-4,7". @param {number[]} numbers */
export function formatNumbers(numbers) {
  /** @type {[number, number][]} */
  const ranges = [];
  for (const n of [...new Set(numbers)].sort((a, b) => a - b)) {
    const last = ranges[ranges.length - 1];
    if (last && n === last[1] + 1) last[1] = n;
    else ranges.push([n, n]);
  }
  return ranges.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(",");
}

/**
 * "0-4,7" as numbers, each once.
 * @param {string} text
 * @param {number} most the highest number that exists
 */
export function parseNumbers(text, most) {
  const found = new Set();
  for (const part of text.split(",")) {
    const range = part.trim().match(/^(\d+)(?:\s*[-–]\s*(\d+))?$/);
    const [low, high] = range ? [Number(range[1]), Number(range[2] ?? range[1])] : [1, 0];
    if (low > high || high > most) {
      throw new RangeError(`“${text.slice(0, 40)}” must be numbers from 0 to ${most}, such as 0-4 or 0,3,7.`);
    }
    for (let n = low; n <= high; n++) found.add(n);
  }
  return [...found].sort((a, b) => a - b);
}
