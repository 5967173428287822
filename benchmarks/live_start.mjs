// How soon the live page acts, and how fast: what a reader of index.html sees, in headless Chromium that draws on the CPU.
//
//   node benchmarks/live_start.mjs --live _build/live --out results/live_start.json      (3 to 8 minutes; on a quiet machine)
//
// Cold: a browser that never saw the page. Warm: the same browser started again with its profile, the page's files in its
// caches. Both end when the first control step is shown. The server is on this machine, so the network takes no time.
// One thread: a server without the isolation headers, and no service worker to add them.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "../tests/browser/node_modules/playwright-core/index.mjs";
import { about } from "./live_about.mjs";

const { values } = parseArgs({
  options: {
    live: { type: "string", default: "_build/live" },
    starts: { type: "string", default: "3" },
    steps: { type: "string", default: "60" },
    minutes: { type: "string", default: "8" },
    threads: { type: "string", default: "2,1" },
    commit: { type: "string" },
    out: { type: "string" },
  },
});
process.env.LIVE = values.live;
const { serve, software } = await import("../tests/live/browser.mjs");

const WAIT = { timeout: 600_000, polling: "raf" };
const WARM_UP = 5; // steps before the speed is measured
const BUSY = 0.5; // load on a machine above which figures say little
const deadline = Date.now() + 60_000 * Number(values.minutes);
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1] ?? null;
const rounded = (x, digits = 2) => Number(x.toFixed(digits));

/** Milliseconds since the page was asked for, when it shows step `n`. */
const reached = async (page, n) => (await page.waitForFunction(
  (step) => Number(document.querySelector(".count")?.textContent.slice(5)) >= step && performance.now(), n, WAIT)).jsonValue();

/** Open the page so that it runs at once; seconds to its first step, and then steps a second over `steps`. */
async function run({ base, profile, threads, steps }) {
  const options = { ...software(), serviceWorkers: threads === 1 ? "block" : "allow" };
  const context = await chromium.launchPersistentContext(profile, options);
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT.timeout);
    page.on("pageerror", (error) => console.log(`script: ${error.message}`));
    await page.goto(`${base}/index.html#run=1`);
    const first = await reached(page, 1);
    const isolated = await page.evaluate(() => crossOriginIsolated);
    if (isolated !== threads > 1) throw new Error(`The page is ${isolated ? "" : "not "}isolated, with ${threads} threads asked for.`);
    const found = { seconds: rounded(first / 1000) };
    if (steps) {
      const from = await reached(page, WARM_UP);
      const to = await reached(page, WARM_UP + steps);
      found.stepsPerSecond = rounded((1000 * steps) / (to - from));
      found.split = await page.textContent(".shares-text");
    }
    // The service worker keeps files after it has answered; a profile is whole when it is done.
    await page.waitForTimeout(1000);
    return found;
  } finally {
    await context.close();
  }
}

const result = {
  ...about(values),
  loadBefore: loadavg().map((x) => rounded(x)),
  threads: {},
};
if (loadavg()[0] > BUSY) console.log(`Load is ${loadavg()[0].toFixed(1)}: others use this machine, so times are longer than on a quiet one.`);
for (const threads of values.threads.split(",").map(Number)) {
  const { base, close } = await serve({ isolated: threads > 1, first: [resolve(values.live)] });
  const found = { cold: [], warm: [], stepsPerSecond: [], splits: [] };
  for (let k = 0; k < Number(values.starts) && Date.now() < deadline; k++) {
    const profile = mkdtempSync(join(tmpdir(), "live_start_"));
    const cold = await run({ base, profile, threads, steps: 0 });
    const warm = await run({ base, profile, threads, steps: Number(values.steps) });
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    found.cold.push(cold.seconds);
    found.warm.push(warm.seconds);
    found.stepsPerSecond.push(warm.stepsPerSecond);
    found.splits.push(warm.split);
    console.log(`${threads} threads: cold ${cold.seconds} s, warm ${warm.seconds} s, ${warm.stepsPerSecond} steps/s (${warm.split})`);
  }
  await close();
  result.threads[threads] = { coldSeconds: median(found.cold), warmSeconds: median(found.warm), stepsPerSecond: median(found.stepsPerSecond), each: found };
  result.loadAfter = loadavg().map((x) => rounded(x));
  if (values.out) writeFileSync(values.out, `${JSON.stringify(result, null, 1)}\n`);
}
