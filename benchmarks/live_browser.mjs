// The live page's closed loop in headless Chromium: success, steps, and where a step's time goes.
//
//   node benchmarks/live_browser.mjs --live _build/live --tasks 0-9 --inits 0-4 --conditions published --out results/live_browser.json
//
// A result file that is there is continued: episodes that it holds are not run again. --minutes stops in time.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    live: { type: "string", default: "_build/live" },
    tasks: { type: "string", default: "0-9" },
    inits: { type: "string", default: "0-4" },
    conditions: { type: "string", default: "published" },
    threads: { type: "string", default: "2" },
    minutes: { type: "string", default: "60" },
    samples: { type: "string", default: "4" },
    logs: { type: "string" },
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
result.command = "node benchmarks/live_browser.mjs --live _build/live --out results/live_browser.json";
result.machine = { cpus: cpus().length, cpu: cpus()[0].model, graphics: "SwiftShader" };
const deadline = Date.now() + 60_000 * Number(values.minutes);
const started = Date.now();
const chromium = await launch();
result.browser = chromium.browser.version();
const page = await chromium.page("loop.html");
await page.waitForFunction("window.ready");
result.loaded = await page.evaluate((threads) => window.load(threads), Number(values.threads));
for (const init of numbers(values.inits)) {
  for (const task of numbers(values.tasks)) {
    for (const condition of values.conditions.split(",")) {
      const key = { condition, task, init };
      if (result.episodes.some(isSame(key)) || Date.now() > deadline) continue;
      const { log, ...episode } = await page.evaluate((given) => window.episode(given), { ...key, samples: Number(values.samples) });
      result.episodes.push({ ...key, ...episode, threads: result.loaded.threads });
      console.log(`${condition} task ${task} init ${init}: ${episode.success ? "success" : "failure"} after ${episode.steps} steps, ${episode.stepsPerSecond.toFixed(2)} steps/s`, JSON.stringify(episode.ms));
      if (values.logs) writeFileSync(`${values.logs}/${condition}_${task}_${init}.jsonl`, log);
      if (values.out) writeFileSync(values.out, `${JSON.stringify(summarised(result), null, 1)}\n`);
    }
  }
}
await chromium.close();
console.log(JSON.stringify(summarised(result).conditions, null, 1), `${((Date.now() - started) / 1000).toFixed(0)} s`);

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
