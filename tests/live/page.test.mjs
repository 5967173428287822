// The page in Chromium, as a newcomer uses it: it starts, breaks, listens, is pushed, and a link brings somebody else there.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";

const require = createRequire(new URL("../browser/", import.meta.url));
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const LONG = 300_000;
let site;
before(async () => { site = await launch(); });
after(() => site.close());

const open = (hash, options) => site.live(hash, options);
const reach = (page, step) => page.waitForFunction((n) => Number(document.querySelector(".count").textContent.slice(5)) >= n, step, { timeout: LONG });
const picture = (page, x, y, size = 24) => page.evaluate(([left, top, width]) => {
  const canvas = document.querySelector("canvas.picture");
  return [...canvas.getContext("2d").getImageData(left * canvas.width - width / 2, top * canvas.height - width / 2, width, width).data];
}, [x, y, size]);
const apart = (a, b) => a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / a.length;

test("it starts, is broken while it runs, hears a sentence, is pushed, and its link leads there", { timeout: 900_000 }, async () => {
  const { context, page, trouble } = await open();
  await page.click(".go");
  await reach(page, 2);
  const before = await page.evaluate(() => [...document.querySelector(".sees canvas").getContext("2d").getImageData(0, 0, 224, 112).data]);

  await page.click("text=Picture upside down"); // while it runs
  const now = Number((await page.textContent(".count")).slice(5));
  await reach(page, now + 2);
  const broken = await page.evaluate(() => [...document.querySelector(".sees canvas").getContext("2d").getImageData(0, 0, 224, 112).data]);
  assert.ok(apart(before, broken) > 5, "what the policy sees has been turned");
  assert.match(await page.textContent(".card.pixels.broken"), /upside down and mirrored/);
  assert.match(await page.textContent("#plot"), /no_flip on/, "the plot marks when");

  await page.click("#play"); // pause
  await page.waitForFunction(() => document.querySelector("#play").textContent === "Play");
  await page.fill(".sentence", "push the milk, please");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".repr").textContent.includes("push the milk, please?\\nOut:"));

  const [x, y] = [0.463, 0.655]; // the can that stands nearest to the camera in start 0 of task 0
  const still = await picture(page, x, y);
  const box = await page.locator("canvas.picture").boundingBox();
  await page.mouse.move(box.x + x * box.width, box.y + y * box.height);
  await page.mouse.down();
  await page.waitForFunction(() => document.querySelector("#clock").textContent);
  assert.match(await page.textContent("#clock"), /^You hold: tomato sauce/);
  await page.mouse.move(box.x + 0.75 * box.width, box.y + 0.8 * box.height, { steps: 4 });
  const at = Number((await page.textContent(".count")).slice(5));
  for (let step = 1; step <= 6; step++) {
    await page.evaluate(() => vlaLive.run.stepOnce());
    await reach(page, at + step);
  }
  await page.mouse.up();
  assert.ok(apart(still, await picture(page, x, y)) > 10, "the can has left its place");

  await page.click("#copy");
  const link = await page.evaluate(() => location.hash);
  const other = await open(link);
  assert.equal(await other.page.inputValue(".sentence"), "push the milk, please");
  assert.equal(await other.page.getAttribute("button.preset.pixels", "aria-pressed"), "true");
  assert.deepEqual(other.trouble, []);
  await other.context.close();

  await page.click("#log summary");
  await page.click("#diagnose");
  assert.match(await page.textContent("#verdicts"), /Side A: (suspected: \w+|nothing wrong)/);
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  const lines = readFileSync(await file.path(), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines.map((line) => line.step), lines.map((_, k) => k));
  assert.deepEqual(trouble, []);
  await context.close();
});

test("a random layout runs, asks for its own object, and stands in link and log", { timeout: 900_000 }, async () => {
  const { context, page, trouble } = await open();
  await page.click("#random");
  const told = await page.textContent("#layout-says");
  const [, seed, sentence] = told.match(/^The instruction of random layout (\d+) is: (.*)\. It is seed/);
  assert.match(await page.evaluate(() => location.hash), new RegExp(`layout=${seed}(&|$)`));
  assert.equal(await page.inputValue(".sentence"), sentence);
  await page.click("#step");
  await reach(page, 1);
  assert.ok((await page.textContent(".repr")).includes(sentence), "the policy is told the layout's sentence");
  const about = JSON.parse(await page.evaluate(() => vlaLive.engine.call("episodeJson", 0, 1)));
  assert.deepEqual([about.layout_seed, about.init, about.instruction], [Number(seed), Number(seed), sentence]);
  await page.click("#next"); // a saved start again
  assert.equal(await page.textContent("#layout-says"), "");
  await page.waitForFunction(() => !location.hash.includes("layout"));
  assert.deepEqual(trouble, []);
  await context.close();
});

for (const [what, hash, said] of [
  ["a link of another version", "#v=1&from=0.0.1&task=1&a=no_flip", /made by version 0\.0\.1/],
  ["a link to a condition that is gone", "#a=no_such_thing", /conditions that this page does not have: no_such_thing/],
]) test(`${what} is said in a sentence`, async () => {
  const { context, page, trouble } = await open(hash);
  assert.match(await page.textContent("#notices"), said);
  assert.deepEqual(trouble, []);
  await context.close();
});

test("a browser without WebGL 2 gets a sentence, and nothing is loaded", async () => {
  const context = await site.browser.newContext();
  await context.addInitScript(() => { globalThis.OffscreenCanvas.prototype.getContext = () => null; });
  const page = await context.newPage();
  const asked = [];
  page.on("request", (r) => asked.push(r.url()));
  await page.goto(`${site.base}/index.html`);
  await page.locator("#notices .bad").waitFor();
  assert.match(await page.textContent("#notices"), /no WebGL 2/);
  assert.equal(asked.filter((url) => /\.(onnx|wasm)$/.test(url)).length, 0);
  await context.close();
});

for (const colorScheme of ["light", "dark"]) test(`no accessibility finding with everything unfolded, ${colorScheme}`, async () => {
  const { context, page } = await open("#a=no_flip", { colorScheme });
  await page.evaluate(() => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).slice(0, 4).join(" · ")}`), []);
  await context.close();
});

for (const width of [360, 390, 768]) test(`nothing is wider than a window of ${width} pixels`, async () => {
  const { context, page } = await open("#b=no_flip", { viewport: { width, height: 844 } });
  await page.evaluate(() => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0);
  await context.close();
});

test("by keyboard alone: the presets come first, and Tab reaches the picture and every control", async () => {
  const { context, page } = await open();
  const reached = [];
  for (let k = 0; k < 40; k++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => {
      const { id, className, tagName, textContent } = document.activeElement;
      return id || className || `${tagName} ${textContent.slice(0, 20)}`;
    }));
  }
  const place = (name) => reached.findIndex((one) => one.includes(name));
  for (const name of ["preset", "task", "init", "compare", "picture", "go primary", "sentence", "play", "speed"]) assert.ok(place(name) >= 0, `${name}: ${reached}`);
  assert.ok(place("preset") < 4);
  await context.close();
});

test("once loaded, it opens without a network", { timeout: 900_000 }, async () => {
  const { context, page } = await open();
  await page.click(".go");
  await reach(page, 1);
  await page.click("#play");
  // The service worker keeps in the background what was loaded before it was there.
  await page.waitForFunction(async () => Boolean(await caches.match("index.html")) && Boolean(await caches.match("view.js")));
  await context.setOffline(true);
  const other = await context.newPage();
  await other.goto(`${site.base}/index.html#a=no_flip`);
  await other.locator("#live[data-state=idle]").waitFor({ timeout: LONG });
  await context.close();
});

test("a sweep runs, is stopped, outlives the tab and resumes", { timeout: 900_000 }, async () => {
  const { context, page, trouble } = await open("#open=sweep");
  // Episodes of a few steps: what is tested is the sweep, not the policy.
  const short = () => { const { engine } = vlaLive; const call = engine.call.bind(engine); engine.call = (method, ...given) => (method === "runEpisode" ? globalThis.fakeEpisode(...given) : call(method, ...given)); };
  const fake = () => {
    globalThis.fakeEpisode = async (key, suite) => {
      await new Promise((resolve) => setTimeout(resolve, 150));
      const success = key.condition === "published";
      return { row: { suite, ...key, success, outcome: success ? "success" : "failure", steps: 3, first_close: null, closes: 0, seconds: 1, attempt: 1, folder: `episodes/${key.condition}/${key.task}_${key.init}`, error: null, travel: 0.1 }, log: "{}\n" };
    };
  };
  await page.evaluate(fake);
  await page.evaluate(short);
  await page.fill("#starts", "0-3");
  await page.click("#measure");
  await page.waitForFunction(() => document.querySelectorAll("#results tbody tr").length === 3 && /[1-3] of 4/.test(document.querySelector("#results tbody").textContent));
  await page.click("#pause-sweep");
  await page.waitForFunction(() => /episodes left/.test(document.querySelector("#plan-says").textContent));
  await page.close();
  const again = await context.newPage();
  await again.goto(`${site.base}/index.html#open=sweep`);
  await again.locator("#kept li").waitFor();
  await again.evaluate(fake);
  await again.evaluate(short);
  await again.click("#kept button:has-text('Resume')");
  await again.waitForFunction(() => /All episodes have ended/.test(document.querySelector("#plan-says").textContent));
  assert.match(await again.textContent("#results tbody"), /4 lost, 0 won of 4; p = 0\.125/);
  const [file] = await Promise.all([again.waitForEvent("download"), again.click("#kept button:has-text('Download shard')")]);
  assert.equal(file.suggestedFilename(), "shard_0-3.zip");
  assert.deepEqual(trouble, []);
  await context.close();
});
