// What a notebook in JupyterLite downloads until its first cell has answered. `jupyterlite.py` says how the folder is built.
//
//   node benchmarks/jupyterlite.mjs --lite OUT/site --out results/jupyterlite.json      (1 minute)
//
// Sizes as in live_download.mjs: each file on its own, gzip (level 9) and Brotli (quality 11), without headers. Wheels and the
// standard library's zip are compressed already and count as they are.
import { spawn } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { browser } from "../tests/browser/site.mjs";
import { about } from "./live_about.mjs";

const { values } = parseArgs({ options: { lite: { type: "string" }, port: { type: "string", default: "8017" }, out: { type: "string" } } });
const WAIT = { timeout: 300_000 };
const script = fileURLToPath(new URL("../vla_tutorial/live/server.py", import.meta.url));
const server = spawn("python3", [script, values.lite, "--port", values.port], { stdio: "ignore" });
const base = `http://127.0.0.1:${values.port}`;
while (!(await fetch(base).catch(() => null))) await new Promise((done) => setTimeout(done, 200));
const chromium = await browser();
const context = await chromium.newContext();
const asked = new Set(), elsewhere = new Set();
context.on("request", (request) => {
  const { origin, pathname, protocol } = new URL(request.url());
  if (origin === base) asked.add(pathname.slice(1));
  else if (protocol.startsWith("http")) elsewhere.add(request.url());
});

const page = await context.newPage();
const begun = performance.now();
await page.goto(`${base}/notebooks/index.html?path=try.ipynb`);
await page.locator(".jp-Notebook .jp-CodeCell").first().click(WAIT);
await page.keyboard.press("Control+Enter");
const answer = page.locator(".jp-OutputArea-output", { hasText: "answer" });
await answer.waitFor(WAIT);
const seconds = Math.round((performance.now() - begun) / 100) / 10;
const said = (await answer.innerText()).trim();
await chromium.close();
server.kill();

const exists = (file) => statSync(join(values.lite, file), { throwIfNoEntry: false })?.isFile();
const part = (file) => (file.startsWith("static/pyodide") || file.endsWith(".whl") ? "Python and its packages" : "JupyterLite");
const files = [...asked].filter(exists).map((file) => {
  const content = readFileSync(join(values.lite, file));
  const packed = /\.(whl|zip)$/.test(file);
  return { file, bytes: content.length, gzip: packed ? content.length : gzipSync(content, { level: 9 }).length, brotli: packed ? content.length : brotliCompressSync(content).length };
});
const sum = (list) => ({ files: list.length, ...Object.fromEntries(["bytes", "gzip", "brotli"].map((name) => [name, list.reduce((total, one) => total + one[name], 0)])) });
const parts = Object.fromEntries([...new Set(files.map((one) => part(one.file)))].map((name) => [name, sum(files.filter((one) => part(one.file) === name))]));
const { command, commit, machine } = about({ live: values.lite });
const result = {
  command: command.replace("_build/live", "OUT/site"), commit, machine: { cpus: machine.cpus, cpu: machine.cpu }, unit: "bytes",
  ...JSON.parse(readFileSync(join(values.lite, "found.json"))),
  answer: said, seconds, elsewhere: [...elsewhere], parts, all: sum(files),
  largest: files.sort((a, b) => b.brotli - a.brotli).slice(0, 8),
};
const text = `${JSON.stringify(result, null, 1)}\n`;
console.log(text);
if (values.out) writeFileSync(values.out, text);
