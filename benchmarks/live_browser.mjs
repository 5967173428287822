// The live page's closed loop in headless Chromium: success, steps, and where a step's time goes.
//
//   node benchmarks/live_browser.mjs --live _build/live --tasks 0-9 --inits 0-4 --conditions published --out results/live_browser.json
//
// A result file that is there is continued: episodes that it holds are not run again. --minutes stops in time.
// --logs FOLDER keeps each steps.jsonl where a sweep has it; --commit NAME is what was built, where that is not HEAD.
// --mujoco FOLDER takes MuJoCo from FOLDER/vendor/mujoco in place of what was built. For the official package:
//   npm pack @mujoco/mujoco@3.14.0 && tar xzf mujoco-mujoco-3.14.0.tgz && mkdir -p FOLDER/vendor/mujoco
//   cp package/mujoco.js package/mujoco.wasm FOLDER/vendor/mujoco/
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { about } from "./live_about.mjs";

const { values } = parseArgs({
  options: {
    live: { type: "string", default: "_build/live" },
    suite: { type: "string", default: "libero_object" },
    policy: { type: "string", default: "mini" },
    tasks: { type: "string", default: "0-9" },
    inits: { type: "string", default: "0-4" },
    conditions: { type: "string", default: "published" },
    threads: { type: "string", default: "2" },
    minutes: { type: "string", default: "60" },
    logs: { type: "string" },
    commit: { type: "string" },
    mujoco: { type: "string" },
    out: { type: "string" },
  },
});
process.env.LIVE = values.live;
const { launch } = await import("../tests/live/browser.mjs");

/** "0-2,5" → [0, 1, 2, 5] */
const numbers = (text) => text.split(",").flatMap((part) => {
  const [first, last = first] = part.split("-").map(Number);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
});
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1] ?? null;
const isSame = (a) => (b) => a.condition === b.condition && a.task === b.task && a.init === b.init;

const result = values.out && existsSync(values.out) ? JSON.parse(readFileSync(values.out, "utf8")) : { episodes: [] };
const { commit, ...self } = about(values);
Object.assign(result, self);
const deadline = Date.now() + 60_000 * Number(values.minutes);
const started = Date.now();
const chromium = await launch({ first: [values.mujoco, values.live].filter(Boolean).map((folder) => resolve(folder)) });
result.browser = chromium.browser.version();
const page = await chromium.page("loop.html");
await page.waitForFunction("window.ready");
result.loaded = await page.evaluate((given) => window.load(...given), [Number(values.threads), values.suite, values.policy]);
for (const init of numbers(values.inits)) {
  for (const task of numbers(values.tasks)) {
    for (const condition of values.conditions.split(",")) {
      const key = { condition, task, init };
      if (result.episodes.some(isSame(key)) || Date.now() > deadline) continue;
      const { log, ...episode } = await page.evaluate((given) => window.episode(given), key);
      const about = { threads: result.loaded.threads, mujoco: result.loaded.mujoco, commit };
      result.episodes.push({ ...key, ...episode, ...about });
      console.log(`${condition} task ${task} init ${init}: ${episode.success ? "success" : "failure"} after ${episode.steps} steps, ${episode.verdict}, ${episode.stepsPerSecond.toFixed(2)} steps/s`, JSON.stringify(episode.ms));
      if (values.logs) keep(log, `${values.logs}/episodes/${condition}/${task}_${init}`);
      if (values.out) writeFileSync(values.out, `${JSON.stringify(summarised(result), null, 1)}\n`);
    }
  }
}
await chromium.close();
console.log(JSON.stringify(summarised(result).conditions, null, 1), `${((Date.now() - started) / 1000).toFixed(0)} s`);

/** Keep a log where `vla-tutorial diagnose` finds it. */
function keep(log, folder) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/steps.jsonl`, log);
}

/** The result with a summary of each condition. */
function summarised({ episodes, ...about }) {
  const conditions = {};
  for (const condition of new Set(episodes.map((episode) => episode.condition))) {
    const of = episodes.filter((episode) => episode.condition === condition);
    conditions[condition] = {
      episodes: of.length,
      successes: of.filter((episode) => episode.success).length,
      medianStepsPerSecond: median(of.map((episode) => episode.stepsPerSecond)),
      medianMs: Object.fromEntries(["physics", "picture", "policy"].map((part) => [part, median(of.map((episode) => episode.ms[part]))])),
    };
  }
  return { ...about, conditions, episodes };
}
