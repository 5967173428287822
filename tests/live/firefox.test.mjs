// The page in Debian's Firefox (firefox-esr): pictures, tokens and the page itself. Headless, this Firefox has no WebGL, so it
// runs in a screen of Xvfb's. Skipped where either is missing: apt-get install firefox-esr xvfb
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { serve } from "./browser.mjs";
import { FOLDER, SUITE, tasks } from "./built.mjs";

const PROGRAMS = { firefox: [process.env.FIREFOX, "/usr/bin/firefox-esr", "/usr/bin/firefox"], screen: ["/usr/bin/Xvfb"] };
const [firefox, screen] = Object.values(PROGRAMS).map((paths) => paths.find((path) => path && existsSync(path)));
const skip = firefox && screen ? false : "firefox-esr or xvfb is not installed";
const LONG = { timeout: 600_000, skip };
const CASES = 5;
let site, shown, browser;

before(async () => {
  if (skip) return;
  const { default: puppeteer } = await import("../browser/node_modules/puppeteer-core/lib/esm/puppeteer/puppeteer-core.js");
  site = await serve();
  shown = spawn(screen, ["-displayfd", "1", "-screen", "0", "1280x1024x24"], { stdio: ["ignore", "pipe", "ignore"] });
  const number = await new Promise((resolve) => shown.stdout.once("data", (text) => resolve(String(text).trim())));
  browser = await puppeteer.launch({
    browser: "firefox", executablePath: firefox, headless: false, timeout: 180_000, protocolTimeout: 600_000,
    extraPrefsFirefox: { "webgl.force-enabled": true }, env: { ...process.env, DISPLAY: `:${number}`, LIBGL_ALWAYS_SOFTWARE: "1" },
  });
});
after(async () => {
  await browser?.close();
  shown?.kill();
  await site?.close();
});

async function open(path) {
  const page = await browser.newPage();
  const trouble = [];
  page.on("pageerror", (error) => trouble.push(error.message));
  await page.goto(`${site.base}/${path}`);
  return { page, trouble };
}

/** Asks again and again: a strict policy forbids what Puppeteer's own waiting puts into the page. */
async function until(page, question, ...given) {
  for (;;) {
    const answer = await page.evaluate(question, ...given);
    if (answer) return answer;
    await new Promise((done) => setTimeout(done, 500));
  }
}

test("Firefox draws Python's pictures", LONG, async () => {
  const { page } = await open("picture.html");
  await until(page, () => window.ready);
  await page.evaluate((number) => window.open_task(number), tasks()[0]);
  const found = await page.evaluate(() => window.measure());
  const mean = found.reduce((sum, one) => sum + one.difference, 0) / found.length;
  console.log(`Firefox: ${mean.toFixed(3)} grey levels from Python`);
  assert.ok(mean <= 1, `${mean}`);
  await page.close();
});

test("Firefox's pixels and policy give Python's tokens", LONG, async () => {
  const answers = JSON.parse(readFileSync(join(FOLDER, "vectors", "policy.json"), "utf8")).slice(0, CASES);
  const { page } = await open("policy.html");
  await until(page, () => window.ready);
  const loaded = await page.evaluate(() => window.load(2, "wasm"));
  console.log(`Firefox: ${loaded.threads} threads`);
  const found = await page.evaluate((given, most) => window.vectors(given, true, most), SUITE.wiring, CASES);
  assert.deepEqual(found.map(({ tokens }) => [...tokens].join()), answers.map(({ tokens }) => tokens.join()));
  await page.close();
});

test("Firefox runs the page, and its link says so", LONG, async () => {
  const { page, trouble } = await open("index.html#run=1&a=no_flip");
  await until(page, () => Number(document.querySelector(".count")?.textContent.slice(5)) >= 2);
  console.log(`Firefox: ${await page.evaluate(() => document.querySelector(".shares-text").textContent)}`);
  assert.match(await page.evaluate(() => location.hash), /a=no_flip/);
  assert.equal(await page.evaluate(() => document.querySelector("#notices .bad")?.textContent ?? ""), "");
  assert.deepEqual(trouble, []);
  await page.close();
});
