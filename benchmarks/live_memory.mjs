// Memory of the live page's tab over many episodes, in headless Chromium (Linux: it reads /proc).
//
//   node benchmarks/live_memory.mjs --live _build/live --steps 40 --out results/live_memory.json      (5 to 20 minutes)
//
// The page is index.html, used by its buttons: each episode is the next start, and every fifth another task. An episode is
// left after --steps control steps, or with --steps end when it has ended; --minutes stops before a further episode. "renderer" is the tab's process with all its
// workers and WebAssembly; "gpu" is the process that draws for all tabs and holds the textures (here on the CPU, in memory).
// "footprint" are the process's own pages (Private_Dirty and swapped), which is what Chromium's task manager shows.
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { about } from "./live_about.mjs";

const { values } = parseArgs({
  options: {
    live: { type: "string", default: "_build/live" },
    episodes: { type: "string", default: "20" },
    steps: { type: "string", default: "40" },
    tasks: { type: "string", default: "4" },
    minutes: { type: "string", default: "60" },
    commit: { type: "string" },
    out: { type: "string" },
  },
});
process.env.LIVE = values.live;
const { launch } = await import("../tests/live/browser.mjs");

const WAIT = { timeout: 900_000 };
const MB = 1e6;
const [episodes, tasks, minutes] = [values.episodes, values.tasks, values.minutes].map(Number);
const whole = values.steps === "end";
const steps = whole ? 1 : Number(values.steps);
const deadline = Date.now() + 60_000 * minutes;

const site = await launch({ first: [resolve(values.live)] });
const root = await site.browser.newBrowserCDPSession();
const page = await site.page("index.html");
const session = await page.context().newCDPSession(page);
await session.send("Performance.enable");

/** MB of a process, by /proc. */
function memory(pid) {
  const kB = Object.fromEntries([...readFileSync(`/proc/${pid}/smaps_rollup`, "utf8").matchAll(/^(\w+): +(\d+) kB/gm)].map(([, name, value]) => [name, Number(value)]));
  const mb = (...names) => Math.round(names.reduce((sum, name) => sum + 1024 * (kB[name] ?? 0), 0) / MB);
  return { rss: mb("Rss"), pss: mb("Pss"), footprint: mb("Private_Dirty", "Swap") };
}

/** The tab and the process that draws. A browser keeps an empty renderer ready; the tab's is the larger one. */
async function look() {
  const { processInfo } = await root.send("SystemInfo.getProcessInfo");
  const of = (type) => processInfo.filter((one) => one.type === type).map((one) => memory(one.id)).sort((a, b) => b.rss - a.rss)[0];
  const { metrics } = await session.send("Performance.getMetrics");
  const heap = metrics.find((one) => one.name === "JSHeapUsedSize").value;
  return { renderer: of("renderer"), gpu: of("GPU"), pageHeap: Math.round(heap / MB) };
}

/** Wait until the page shows at least, or fewer than, `n` control steps. A strict policy forbids text as code, so these are functions. */
const atLeast = (n) => page.waitForFunction((least) => Number(document.querySelector(".count")?.textContent.slice(5)) >= least, n, WAIT);
const fewerThan = (n) => page.waitForFunction((most) => Number(document.querySelector(".count")?.textContent.slice(5)) < most, n, WAIT);
const ended = () => page.waitForFunction(() => document.querySelector(".verdict").textContent, null, WAIT);
const shown = () => page.evaluate(() => Number(document.querySelector(".count").textContent.slice(5)));
const result = {
  ...about(values),
  browser: site.browser.version(),
  unit: "MB (1e6 bytes)",
  stepsEach: whole ? "to the end" : steps,
  rows: [],
};
await page.waitForFunction(() => document.querySelector("#live").dataset.state === "idle", null, WAIT);
result.idle = await look();
await page.click(".go");
for (let k = 0; k < episodes && Date.now() < deadline; k++) {
  const task = Math.floor((k * tasks) / episodes);
  if (k) {
    const isNew = task !== Math.floor(((k - 1) * tasks) / episodes);
    if (isNew) await page.selectOption("#task", String(task));
    else await page.click("#next");
    await page.waitForFunction(() => !document.querySelector(".verdict").textContent, null, WAIT);
    if (whole) await page.click("#play"); // a run that was left goes on by itself
    else await fewerThan(steps);
  }
  await (whole ? ended() : atLeast(steps));
  const found = { episode: k, task, steps: await shown(), ...(await look()) };
  result.rows.push(found);
  console.log(JSON.stringify(found));
  const kept = result.rows.map((row) => row.renderer);
  const half = (from, to, name) => Math.max(...kept.slice(from, to).map((row) => row[name]));
  const middle = Math.ceil(kept.length / 2);
  result.summary = Object.fromEntries(["rss", "pss", "footprint"].map((name) => [name, {
    most: half(0, kept.length, name), mostOfFirstHalf: half(0, middle, name), mostOfSecondHalf: half(middle, kept.length, name), last: kept.at(-1)[name],
  }]));
  if (values.out) writeFileSync(values.out, `${JSON.stringify(result, null, 1)}\n`);
}
await site.close();
console.log(JSON.stringify(result.summary));
