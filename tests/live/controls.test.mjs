// Everything that one can do in the page, by its own controls, and what comes of it (vla_tutorial/live/README.md lists it).
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";

const LONG = { timeout: 900_000 };
let site;
before(async () => { site = await launch(); });
after(() => site.close());

const open = (hash, options) => site.live(hash, options);
const count = (page) => page.evaluate(() => Number(document.querySelector(".count").textContent.slice(5)));
const reach = (page, step) => page.waitForFunction((n) => Number(document.querySelector(".count").textContent.slice(5)) >= n, step);
const says = (page, id, text) => page.waitForFunction(([where, words]) => document.querySelector(where).textContent === words, [id, text]);
const hash = (page, part) => page.waitForFunction((words) => location.hash.slice(1).split("&").includes(words), part);
const step = async (page, times = 1) => {
  for (let k = 0; k < times; k++) {
    const before = await count(page);
    await page.click("#step");
    await page.waitForFunction((n) => vlaLive.stage.sides.every((side) => side.lines.length >= n), before + 1);
  }
};
/** Whether something becomes true within 30 s. */
const comes = async (is) => {
  for (let k = 0; k < 60; k++) {
    if (await is()) return true;
    await new Promise((done) => setTimeout(done, 500));
  }
  return false;
};
/** Lines of a side's log. */
const lines = (page, side = 0) => page.evaluate((i) => vlaLive.stage.sides[i].lines, side);
/** Levels of a canvas's middle: what is shown or what the policy sees. */
const levels = (page, canvas) => page.evaluate((which) => {
  const { width, height } = document.querySelector(which);
  const rgba = document.querySelector(which).getContext("2d").getImageData(0, 0, width, height).data;
  return [...rgba].filter((_, k) => k % 4 !== 3);
}, canvas);
const mean = (all) => all.reduce((sum, x) => sum + x, 0) / all.length;
const apart = (a, b) => mean(a.map((x, k) => Math.abs(x - b[k])));
const SHOWN = "canvas.picture";
const SEEN = ".sees canvas";
const slide = (page, name, value) => page.evaluate(([id, to]) => {
  const input = document.querySelector(`#slider-${id}`);
  input.value = to;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}, [name, String(value)]);

test("start, pause, step, speed, restart, next and previous start, ten tasks", LONG, async () => {
  const { context, page } = await open();
  const { suites, policies } = await page.evaluate(() => vlaLive.manifest);
  const choices = [await page.isVisible("#suite"), await page.isVisible(".policy select")];
  assert.deepEqual(choices, [suites.length > 1, Object.keys(policies).length > 1], "no choice of one");
  await page.click(".go");
  await reach(page, 2);
  await page.click("#play");
  await says(page, "#play", "Play");
  const paused = await count(page);
  await page.waitForTimeout(1000);
  assert.equal(await count(page), paused, "a paused run stands still");
  await step(page);
  assert.equal(await count(page), paused + 1, "one step is one step");

  await page.selectOption("#speed", "1");
  const began = Date.now();
  await page.click("#play");
  await reach(page, paused + 4);
  assert.ok(Date.now() - began > 1900, "three steps at one a second"); // the first needs no wait
  await page.click("#play");
  await says(page, "#play", "Play");

  const first = await lines(page);
  await page.click("#restart");
  await says(page, ".count", "");
  await step(page, 2);
  assert.deepEqual(await lines(page), first.slice(0, 2), "the same start gives the same steps");

  await page.click("#next");
  await hash(page, "init=1");
  await step(page);
  const second = await lines(page);
  assert.notDeepEqual(second[0], first[0], "another start, another picture");
  await page.click("#previous");
  await page.click("#previous");
  await hash(page, "init=49");

  const sentences = await page.locator("#task option").allTextContents();
  assert.equal(new Set(sentences).size, 10);
  await page.selectOption("#task", "7");
  await page.waitForFunction((text) => document.querySelector(".repr").textContent.includes(text), sentences[7]);
  assert.equal(await page.inputValue(".sentence"), sentences[7]);
  await context.close();
});

test("two sides begin alike; one is broken, and the other stays as it was", LONG, async () => {
  const { context, page } = await open();
  await page.check("#compare");
  assert.equal(await page.locator(".side").count(), 2);
  await step(page, 2);
  assert.deepEqual(await lines(page, 0), await lines(page, 1), "the same start and settings");
  await page.click("text=Another robot’s units");
  await step(page);
  const [a, b] = [(await lines(page, 0)).at(-1), (await lines(page, 1)).at(-1)];
  assert.deepEqual(a.tokens, b.tokens, "both saw the same picture");
  assert.notDeepEqual(a.action, b.action, "their tokens are read with other statistics");
  await hash(page, "b=wrong_unnorm_key");
  // Conditions one by one: each side has its own switch, and what acts later says so.
  await page.click("#conditions summary");
  await page.locator('#switches input[data-side="0"][data-condition="no_flip"]').check();
  await hash(page, "a=no_flip");
  const late = await page.evaluate(() => vlaLive.suite.conditions.find((c) => c.supported && c.appliesAt === "reset").name);
  await page.locator(`#switches input[data-side="1"][data-condition="${late}"]`).check();
  assert.match(await page.textContent("#notices"), new RegExp(`Press Restart: ${late} can only act from the beginning`));
  await context.close();
});

test("tokens as bins, the prompt with repr, and where a step's time goes", LONG, async () => {
  const { context, page } = await open();
  await step(page);
  const [line] = await lines(page);
  const marks = await page.locator(".bins .value").evaluateAll((all) => all.map((one) => one.title));
  assert.deepEqual(marks.map((title) => Number(title.match(/^token (\d+), bin \d+$/)[1])), line.tokens);
  assert.match(await page.textContent(".repr"), /^'In: What action should the robot take to .*\\nOut:'  → \d+ token ids$/);
  assert.match(await page.textContent(".shares-text"), /^physics \d+ · picture \d+ · policy \d+ ms · \d+\.\d steps a second$/);
  const raster = await page.evaluate(() => [document.querySelector("#rasters canvas").width, document.querySelectorAll("#plot path").length]);
  assert.equal(raster[0], 1, "a column a step");
  assert.ok(raster[1] > 0, "the plots have begun");
  await context.close();
});

test("each slider acts, shows what was trained, and is taken back", LONG, async () => {
  const { context, page } = await open();
  await step(page);
  await page.click("#scene summary");
  assert.equal(await page.locator(".slider .trained").count(), await page.locator(".slider input").count());
  await page.evaluate(() => vlaLive.engine.call("tweak", vlaLive.experiment.tweaks)); // a step shows what was before it
  const usual = await levels(page, SEEN);
  for (const [name, value, changes] of [
    ["light", 0.4, (now) => mean(now) < 0.6 * mean(usual)],
    ["camera", 20, (now) => apart(now, usual) > 5],
    ["noise", 40, (now) => apart(now, usual) > 5],
  ]) {
    await slide(page, name, value);
    await hash(page, `${name}=${value}`);
    assert.ok(await comes(async () => changes(await levels(page, SEEN))), `${name}: the policy sees it without a step`);
    await page.click(`button[aria-label="reset: ${await page.textContent(`label[for=slider-${name}]`)}"]`);
    await page.waitForFunction((which) => !location.hash.includes(`${which}=`), name);
    assert.ok(await comes(async () => apart(await levels(page, SEEN), usual) === 0), `${name} is taken back`);
  }
  await context.close();
});

test("friction: the same pull moves the object far or hardly", LONG, async () => {
  const { context, page } = await open("#task=0&init=0");
  const moved = async (friction) => {
    await page.click("#restart");
    await slide(page, "friction", friction);
    await step(page);
    const before = await levels(page, SHOWN);
    await page.evaluate(() => vlaLive.engine.call("tug", 0, 0, -1));
    await step(page, 3);
    return apart(before, await levels(page, SHOWN));
  };
  await page.click("#scene summary");
  await step(page);
  const smooth = await moved(0.1);
  const rough = await moved(3);
  assert.ok(smooth > rough, `${smooth} and ${rough} grey levels`);
  // Weight: the physics tests say what it does; here that the slider reaches them.
  await slide(page, "mass", 10);
  await hash(page, "mass=10");
  assert.equal(await page.evaluate(() => vlaLive.experiment.tweaks.mass), 10);
  await context.close();
});

test("the button Disturb turns the arm, is marked, and stands in the link", LONG, async () => {
  const { context, page } = await open();
  await step(page, 3);
  const usual = await lines(page);
  await page.click("#restart");
  await step(page);
  await page.click("#disturb");
  await hash(page, "seed=1");
  await step(page, 2); // a step's log says where the hand was before it
  const pushed = await lines(page);
  assert.deepEqual(pushed[0], usual[0]);
  assert.notDeepEqual(pushed[2].eef_pos, usual[2].eef_pos);
  assert.match(await page.textContent("#plot"), /disturbed/);
  await context.close();
});

test("one looks around while the policy sees its own picture", LONG, async () => {
  const { context, page } = await open();
  await step(page);
  await page.click("#camera");
  await page.waitForFunction(() => document.querySelector("canvas.picture").width === 480);
  const seen = await levels(page, SEEN);
  const from = await levels(page, SHOWN);
  await page.locator(SHOWN).focus();
  for (let k = 0; k < 4; k++) await page.keyboard.press("ArrowRight");
  assert.ok(await comes(async () => apart(from, await levels(page, SHOWN)) > 3), "the reader's camera has turned");
  assert.deepEqual(await levels(page, SEEN), seen);
  await page.click("#camera");
  await page.waitForFunction(() => document.querySelector("canvas.picture").width === 256);
  await context.close();
});

test("a finger drags the can in any direction, on a phone held upright", LONG, async () => {
  const { context, page } = await open("", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await step(page);
  await page.locator(SHOWN).scrollIntoViewIfNeeded();
  const box = await page.locator(SHOWN).boundingBox();
  const [x, y] = [0.463, 0.655]; // the can that stands nearest to the camera in start 0 of task 0
  const finger = await context.newCDPSession(page);
  const touch = (type, at) => finger.send("Input.dispatchTouchEvent", { type, touchPoints: at ? [{ x: box.x + at[0] * box.width, y: box.y + at[1] * box.height }] : [] });
  const before = await levels(page, SHOWN);
  const scrolled = await page.evaluate(() => scrollY);
  await touch("touchStart", [x, y]);
  await page.waitForFunction(() => document.querySelector("#clock").textContent);
  assert.match(await page.textContent("#clock"), /^You hold: tomato sauce/);
  for (let k = 1; k <= 8; k++) await touch("touchMove", [x, y - 0.05 * k]);
  for (let k = 0; k < 5; k++) {
    const at = await count(page);
    await page.evaluate(() => vlaLive.run.stepOnce());
    await reach(page, at + 1);
  }
  assert.match(await page.textContent("#clock"), /^You hold: tomato sauce/, "the page did not take the finger away");
  assert.equal(await page.evaluate(() => scrollY), scrolled, "the page did not scroll");
  await touch("touchEnd");
  await says(page, "#clock", "");
  assert.ok(apart(before, await levels(page, SHOWN)) > 1, "the can has left its place");
  await context.close();
});
