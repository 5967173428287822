// What goes wrong in browsers, one by one in Chromium: each is said in a sentence, and nothing that was run is lost.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import vm from "node:vm";
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import { launch } from "./browser.mjs";
import { FOLDER } from "./built.mjs";

const LONG = 300_000; // other tests may run beside this one
let site;
before(async () => { site = await launch(); });
after(() => site.close());

async function open(hash = "", { context = null, before = async () => {} } = {}) {
  context ??= await site.browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(LONG);
  await before(page);
  await page.goto(`${site.base}/index.html${hash}`);
  await page.waitForFunction(() => /idle|impossible/.test(document.querySelector("#live").dataset.state) || document.querySelector("#notices .bad"));
  return { context, page };
}

const said = (page, words) => page.waitForFunction(([source]) => new RegExp(source).test(document.querySelector("#notices").textContent), [words.source]);
const count = (page) => page.evaluate(() => Number(document.querySelector(".count").textContent.slice(5)));
const reach = (page, step) => page.waitForFunction((n) => Number(document.querySelector(".count").textContent.slice(5)) >= n, step);
const paused = (page) => page.waitForFunction(() => document.querySelector("#play").textContent === "Play");

/** The worker of the engine; `inWorker` changes it before physics and policy are loaded. */
const engine = (page) => page.workers().find((worker) => worker.url().endsWith("engine_worker.js"));
async function breakWorker(page, inWorker) { await engine(page).evaluate(inWorker); }
async function isSaid(page, words) {
  await page.click(".go");
  await said(page, words);
  assert.equal(await page.textContent(".go"), "Try again");
}

test("graphics that are taken away: the run waits, and goes on where it was", { timeout: 900_000 }, async () => {
  const { context, page } = await open();
  await breakWorker(page, () => {
    const get = OffscreenCanvas.prototype.getContext;
    OffscreenCanvas.prototype.getContext = function (...given) {
      const found = get.apply(this, given);
      globalThis.losable = found.getExtension("WEBGL_lose_context");
      return found;
    };
  });
  await page.click(".go");
  await reach(page, 2);
  await engine(page).evaluate(() => globalThis.losable.loseContext());
  await said(page, /took the graphics away. The run waits/);
  await paused(page);
  const at = await count(page);
  await page.click("text=Picture upside down"); // choosing goes on without graphics
  await engine(page).evaluate(() => globalThis.losable.restoreContext());
  await said(page, /graphics are back, and the run goes on/);
  await reach(page, at + 1);
  const steps = await page.evaluate(() => vlaLive.stage.sides[0].lines.map((line) => [line.step, line.img_mean]));
  assert.deepEqual(steps.map(([step]) => step), steps.map((_, k) => k), "no step is lost");
  assert.ok(steps.every(([, mean]) => mean > 20), "the policy was shown no black picture");
  await context.close();
});

test("a tab in the background pauses, and its steps stay", { timeout: 900_000 }, async () => {
  const { context, page } = await open();
  await page.click(".go");
  await reach(page, 1);
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await said(page, /paused because its tab went to the background/);
  await paused(page);
  const at = await count(page);
  await page.click("#play");
  await reach(page, at + 1);

  // The same page hears what nobody thought of: Chinese, and far too much.
  await page.click("#play");
  await paused(page);
  await page.fill(".sentence", "把汤罐放进篮子里");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => /把汤罐放进篮子里\?/.test(document.querySelector(".repr").textContent));
  await page.fill(".sentence", "please ".repeat(285).slice(0, 2000));
  await page.keyboard.press("Enter");
  await said(page, /The prompt has \d+ token ids and the policy reads \d+; say it in fewer words/);
  assert.equal(await page.inputValue(".sentence"), "把汤罐放进篮子里", "what it ran with is back");
  await page.click("#step");
  await reach(page, at + 2);
  await context.close();
});

test("what was kept is damaged: one sentence, and trying again loads it anew", { timeout: 900_000 }, async () => {
  const { context, page } = await open();
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  await page.evaluate(async () => {
    const { tasks } = vlaLive.suite;
    const cache = await caches.open("vla-tutorial-live-1");
    await cache.put(new URL(tasks[0].states, location.href).href, new Response("no states"));
  });
  await isSaid(page, /states\/libero_object_task0\.bin has 9 bytes; expected \d+/);
  await page.waitForFunction(async () => !(await caches.has("vla-tutorial-live-1")));
  await page.click(".go");
  await reach(page, 1);
  await context.close();
});

test("too little memory is said, and what was measured is kept", async () => {
  const { context, page } = await open();
  await breakWorker(page, () => {
    WebAssembly.instantiate = async () => { throw new RangeError("WebAssembly.instantiate(): Out of memory: Cannot allocate Wasm memory for new instance"); };
  });
  await isSaid(page, /The browser ran out of memory\. Close other tabs .* What was measured is kept/);
  await context.close();
});

test("WebAssembly that is blocked in the worker alone is said", async () => {
  const { context, page } = await open();
  await breakWorker(page, () => {
    WebAssembly.instantiate = async () => { throw new WebAssembly.CompileError("WebAssembly.instantiate(): Wasm code generation disallowed by embedder"); };
  });
  await isSaid(page, /MuJoCo did not start: this server or browser forbids WebAssembly/);
  await context.close();
});

for (const [what, before, words] of [
  ["a page whose policy blocks WebAssembly", (page) => page.route("**/index.html", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: (await answer.text()).replace(" 'wasm-unsafe-eval'", "") });
  }), /forbids WebAssembly/],
  ["a browser without WebAssembly SIMD", (page) => page.addInitScript(() => { WebAssembly.validate = () => false; }), /lacks WebAssembly SIMD.*recorded runs/],
  ["a browser without WebGL 2", (page) => page.addInitScript(() => { OffscreenCanvas.prototype.getContext = () => null; }), /no WebGL 2.*recorded runs/],
]) test(`${what} gets a sentence, and nothing is loaded`, async () => {
  const asked = [];
  const { context, page } = await open("", { before: async (page) => { page.on("request", (r) => asked.push(r.url())); await before(page); } });
  await said(page, words);
  assert.equal(await page.isVisible("#live"), false);
  assert.equal(asked.filter((url) => /\.(onnx|wasm)$|manifest/.test(url)).length, 0);
  await context.close();
});

test("opened from a memory stick it says what browsers forbid, and what to do", async () => {
  const context = await site.browser.newContext({ viewport: { width: 390, height: 844 } });
  const page = await context.newPage();
  const asked = [];
  page.on("request", (r) => asked.push(r.url()));
  await page.goto(pathToFileURL(join(FOLDER, "index.html")).href);
  await said(page, /does not let a page on a disk load its parts.*python3 -m http\.server.*recorded runs in the book/);
  assert.equal(await page.locator("#notices .bad").count(), 1, "one sentence");
  assert.deepEqual([await page.isVisible("#live"), await page.locator("button:visible").count()], [false, 0], "no button that would do nothing");
  assert.deepEqual(asked.filter((url) => /\.(onnx|wasm)|manifest/.test(url) || !url.startsWith("file:")), []);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0);
  await context.close();
});

test("two tabs: one measures, the other says so", async () => {
  const first = await open("#open=sweep");
  const second = await open("#open=sweep", { context: first.context });
  await first.page.evaluate(() => {
    const { engine } = vlaLive;
    const call = engine.call.bind(engine);
    engine.call = (method, ...given) => (method === "runEpisode" ? new Promise(() => {}) : call(method, ...given));
  });
  await first.page.click("#measure");
  await first.page.waitForFunction(() => !document.querySelector("#pause-sweep").disabled);
  await second.page.click("#measure");
  await said(second.page, /Another tab of this browser is measuring/);
  await first.context.close();
});

test("a browser from before WebAssembly is told in a sentence", () => {
  const said = [];
  const element = () => ({ dataset: {}, setAttribute() {}, appendChild: (child) => said.push(child.textContent) });
  const document = { createElement: element, getElementById: element, addEventListener: (_, show) => show() };
  const context = vm.createContext({ location: { protocol: "https:", pathname: "/live/" }, document });
  vm.runInContext("var window = this; delete this.WebAssembly; delete this.globalThis;", context);
  const source = readFileSync(new URL("../../vla_tutorial/live/page/boot.js", import.meta.url), "utf8");
  vm.runInContext(source, context);
  assert.deepEqual(said.map((text) => /^WebAssembly is switched off in this browser/.test(text)), [true]);
});

test("while the page measures, another run is refused in a sentence, and the sweep goes on", async () => {
  const { context, page } = await open("#open=sweep");
  await page.evaluate(() => {
    const { engine } = vlaLive;
    const call = engine.call.bind(engine);
    globalThis.asked = [];
    engine.call = (method, ...given) => {
      globalThis.asked.push(method);
      return method === "runEpisode" ? new Promise(() => {}) : call(method, ...given);
    };
  });
  await page.click("#measure");
  await page.waitForFunction(() => globalThis.asked.includes("runEpisode"));
  await page.click("text=Picture upside down");
  await said(page, /The page is measuring and uses the same physics\. Stop the measurement first\./);
  assert.equal(await page.evaluate(() => globalThis.asked.includes("arrange")), false);
  assert.equal(await page.isDisabled("#pause-sweep"), false, "it still measures");
  await context.close();
});
