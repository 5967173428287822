// A page of two suites and two policies. Both second ones are the first ones under other names, since building real ones takes minutes.
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { FOLDER, MANIFEST, SUITE, tasks } from "./built.mjs";

const UNKNOWN = "mini does not know libero_10: its checkpoint was trained on libero_object. Its success here does not measure what it learned.";
const REFUSED = "mini-narrow was trained on the published places of libero_object alone.";
const FIXED = "Nothing in this task (flat_stove_1) can be moved. Choose another task.";
const STEPS = 3;
const folder = mkdtempSync(join(tmpdir(), "suites-"));
let site;

before(async () => {
  const narrow = "data/policy/mini_narrow.onnx.gz";
  const [mini] = Object.values(MANIFEST.policies);
  const own = SUITE.tasks.slice(0, 2);
  const second = {
    ...SUITE, suite: "libero_10", stepLimit: STEPS, scene: { ...SUITE.scene, suite: "libero_10" },
    tasks: [own.at(-1), { ...own[0], instruction: "turn on the stove", goal: [["turnon", "flat_stove_1"]], refusals: { second_can: FIXED } }].map((one, task) => ({ ...one, task })),
  };
  const policies = { mini: { ...mini, warnings: { libero_10: UNKNOWN }, refusals: {} }, "mini-narrow": { ...mini, file: narrow, warnings: {}, refusals: { libero_10: REFUSED } } };
  mkdirSync(dirname(join(folder, narrow)), { recursive: true });
  cpSync(join(FOLDER, mini.file), join(folder, narrow));
  writeFileSync(join(folder, "data/manifest.json"), JSON.stringify({ ...MANIFEST, suites: [SUITE, second], policies }));
  site = await launch({ first: [folder] });
});
after(async () => {
  await site?.close();
  rmSync(folder, { recursive: true });
});

const said = (page, words) => page.waitForFunction((text) => document.querySelector("#notices").textContent.includes(text), words);
const episode = async (page, side = 0) => JSON.parse(await page.evaluate((i) => vlaLive.engine.call("episodeJson", i, 1), side));
const steps = (page, count) => page.waitForFunction((n) => vlaLive.stage.sides.every((side) => side.lines.length >= n), count);

test("suite and policies are chosen, stand in link and record, and what does not apply is said", { timeout: 900_000 }, async () => {
  const { context, page, trouble } = await site.live("#suite=libero_10&task=1&a=second_can");
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await said(page, `second_can was switched off. ${FIXED}`);
  await said(page, UNKNOWN);
  assert.deepEqual(await page.locator("#suite option").allTextContents(), [SUITE.suite, "libero_10"]);
  assert.deepEqual([await page.inputValue("#suite"), await page.inputValue("#task"), await page.inputValue(".sentence")], ["libero_10", "1", "turn on the stove"]);
  await page.click("#scene summary");
  await page.click("#conditions summary");
  assert.deepEqual([await page.isVisible("#slider-light"), await page.isVisible("#slider-mass")], [true, false], "this goal moves no object");
  const canSwitch = '#switches input[data-side="0"][data-condition="second_can"]';
  assert.equal(await page.isVisible(canSwitch), false);

  await page.click(".go");
  await page.waitForFunction(() => vlaLive.stage.sides[0].success !== null);
  assert.equal(await page.textContent(".verdict"), `✗ no success in ${STEPS} steps`, "the suite's own limit");
  const about = await episode(page);
  assert.deepEqual([about.suite, about.task, about.policy.name, about.policy.warning], ["libero_10", 1, "mini", UNKNOWN]);
  await page.click("#log summary");
  await page.click("#diagnose");
  assert.match(await page.textContent("#verdicts"), /^Side A: there is no reference for libero_10 yet/);

  // A sweep is of the suite that is chosen.
  await page.evaluate(() => {
    const { engine } = vlaLive;
    const call = engine.call.bind(engine);
    engine.call = (method, ...given) => (method === "runEpisode" ? (globalThis.begun = given, new Promise(() => {})) : call(method, ...given));
  });
  await page.click("#sweep summary");
  await page.fill("#tasks", "0-1");
  await page.click("#measure");
  await page.waitForFunction(() => globalThis.begun);
  assert.deepEqual(await page.evaluate(() => globalThis.begun), [{ condition: "published", task: 0, init: 0 }, { suite: "libero_10", starts: "saved", policy: "mini" }]);
  await page.goto(`${page.url().split("#")[0]}?again${await page.evaluate(() => location.hash)}`);
  await page.locator("#kept li").waitFor({ state: "attached" });
  assert.match(await page.textContent("#kept"), /tasks 0-1 of libero_10; 0 of \d+ ended/);

  await page.click("#step"); // it ran before, so that what ran must end
  await steps(page, 1);
  await page.selectOption(".policy select", "mini-narrow");
  await page.waitForFunction((words) => document.querySelector(".veil-text").textContent === words, REFUSED);
  await page.click("#sweep summary");
  await page.click("#measure");
  await said(page, REFUSED);
  assert.equal(await page.locator("#kept li").count(), 1, "no sweep has begun");
  assert.equal(asked.some((url) => url.includes("mini_narrow")), false, "its weights are not loaded before it acts");
  await page.selectOption("#suite", SUITE.suite);
  assert.equal(await page.locator("#task option").count(), tasks().length);
  assert.match(await page.evaluate(() => location.hash), /^(?!.*suite=).*policy_a=mini-narrow/);
  await page.check("#compare");
  await page.locator(".policy select").first().selectOption("mini");
  await page.click("#step");
  await steps(page, 1);
  assert.ok(asked.some((url) => url.includes("mini_narrow")));
  assert.deepEqual([(await episode(page)).policy.name, (await episode(page, 1)).policy.name, (await episode(page, 1)).suite], ["mini", "mini-narrow", SUITE.suite]);
  assert.match(await page.evaluate(() => location.hash), /^(?!.*policy_a=).*policy_b=mini-narrow/);
  await page.evaluate(() => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  assert.equal(await page.isVisible(canSwitch), true);
  await page.setViewportSize({ width: 360, height: 800 });
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "nothing is wider than a phone");
  assert.deepEqual(trouble, []);
  await context.close();
});
