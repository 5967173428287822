// What the live page downloads: until the first step of the first task, and for each further task.
//
//   node benchmarks/live_download.mjs --live _build/live --out results/live_download.json      (2 to 5 minutes)
//
// Chromium opens index.html, runs it and then chooses each other task; what it asks for is noted. Each file is then compressed
// on its own, as a web server would: gzip (level 9) and Brotli (quality 11). Sizes are without headers. A file counts where it
// is first asked for.
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { about } from "./live_about.mjs";

const { values } = parseArgs({
  options: {
    live: { type: "string", default: "_build/live" },
    commit: { type: "string" },
    out: { type: "string" },
  },
});
process.env.LIVE = values.live;
const { launch } = await import("../tests/live/browser.mjs");

const WAIT = { timeout: 900_000 };
const LARGEST = 8; // files that are named
const site = await launch({ first: [resolve(values.live)] });

/** Files by the part of the visit in which they are first asked for. @type {Map<string, string>} */
const asked = new Map();
let part = "first task";
const context = await site.browser.newContext();
context.on("request", (request) => {
  const { origin, pathname } = new URL(request.url());
  if (origin !== site.base) return;
  const file = pathname.slice(1) || "index.html";
  if (!asked.has(file)) asked.set(file, part);
});

const page = await context.newPage();
page.setDefaultTimeout(WAIT.timeout);
await page.goto(`${site.base}/index.html#run=1`);
await page.waitForFunction(() => Number(document.querySelector(".count")?.textContent.slice(5)) >= 1, null, WAIT);
const choicesOf = (id) => page.$$eval(`${id} option`, (options) => options.map((option) => option.value));
const suites = await choicesOf("#suite");
for (const suite of suites) {
  for (const task of await choicesOf("#task")) {
    if (suite === suites[0] && task === "0") continue; // the one that the page begins with
    part = suite === suites[0] ? `task ${task}` : `${suite} task ${task}`;
    await page.evaluate(() => { document.querySelector("#live").dataset.state = "asked"; }); // until the page says otherwise
    await page.selectOption(...(task === "0" ? ["#suite", suite] : ["#task", task]));
    await page.waitForFunction(() => document.querySelector("#live").dataset.state === "ready", null, WAIT);
    console.log(part);
  }
}
await site.close();

/** Bytes of a file: as it is, gzip, Brotli. */
function sizes(file) {
  const content = readFileSync(join(values.live, file));
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length } };
  return { bytes: content.length, gzip: gzipSync(content, { level: 9 }).length, brotli: brotliCompressSync(content, quality).length };
}
const sum = (list) => Object.fromEntries(["bytes", "gzip", "brotli"].map((name) => [name, list.reduce((total, one) => total + one[name], 0)]));

const files = [...asked].map(([file, when]) => ({ file, when, ...sizes(file) }));
const parts = Object.fromEntries([...new Set(asked.values())].map((when) => {
  const of = files.filter((one) => one.when === when);
  return [when, { files: of.length, ...sum(of) }];
}));
const first = files.filter((one) => one.when === "first task").sort((a, b) => b.brotli - a.brotli);
const result = {
  ...about(values),
  unit: "bytes",
  parts,
  allTasks: sum(files),
  largest: first.slice(0, LARGEST).map(({ when, ...one }) => one),
};
const text = `${JSON.stringify(result, null, 1)}\n`;
console.log(text);
if (values.out) writeFileSync(values.out, text);
