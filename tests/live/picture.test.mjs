// The renderer in headless Chromium with software GL, against the pictures that MuJoCo drew in Python.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { tasks } from "./built.mjs";

let site, page;

before(async () => {
  site = await launch();
  page = await site.page("picture.html");
  await page.waitForFunction("window.ready");
});

after(() => site?.close());

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

test("pictures differ from Python's by at most one grey level on average", async () => {
  const differences = [];
  for (const number of tasks()) {
    assert.equal(await page.evaluate(`open_task(${number})`), 20);
    const found = await page.evaluate("measure()");
    const times = found.map((one) => one.ms).sort((a, b) => a - b);
    const own = found.map((one) => one.difference);
    console.log(`task ${number}: ${mean(own).toFixed(3)} on average, at most ${Math.max(...own).toFixed(3)}; median ${times[10].toFixed(0)} ms`);
    differences.push(...own);
  }
  assert.ok(mean(differences) <= 1, `${mean(differences)}`);
  assert.ok(Math.max(...differences) <= 1.3);
});

test("camera, light, textures, hidden and copied things are drawn as Python draws them", async () => {
  await page.evaluate(`open_task(${tasks()[0]})`);
  for (const { name, difference } of await page.evaluate("measure_starts()")) {
    console.log(`${name}: ${difference.toFixed(3)}`);
    assert.ok(difference <= 1.2, `${name}: ${difference}`);
  }
});

test("a picture does not depend on what was drawn before", async () => {
  await page.evaluate(`open_task(${tasks()[0]})`);
  const apart = await page.evaluate(`(() => {
    const first = picture(3);
    const other = picture(9, { light: 0.4, cameraDegrees: 20 });
    picture(12, { view: { azimuth: 30, elevation: -40, distance: 1.5, lookat: [0, 0, 0.1] } });
    picture(4, { width: 480, height: 320 });
    for (const i of [0, 7, 11, 2]) picture(i);
    return [differ(picture(3), first), differ(picture(9, { light: 0.4, cameraDegrees: 20 }), other), differ(first, other)];
  })()`);
  assert.equal(apart[0], 0);
  assert.equal(apart[1], 0);
  assert.ok(apart[2] > 5);
});

test("a free camera draws at any size", async () => {
  await page.evaluate(`open_task(${tasks()[0]})`);
  const found = await page.evaluate(`(() => {
    const view = { azimuth: 120, elevation: -25, distance: 1.6, lookat: [0, 0, 0.1] };
    const bytes = picture(0, { view, width: 320, height: 200, samples: 1 });
    return { length: bytes.length, levels: new Set(bytes).size };
  })()`);
  assert.equal(found.length, 320 * 200 * 3);
  assert.ok(found.levels > 50);
});

test("a point of the picture names what is seen there", async () => {
  await page.evaluate(`open_task(${tasks()[0]})`);
  const found = await page.evaluate(`(() => {
    const { renderer, task, poses } = now;
    const movable = task.physics.movables.find((one) => !one.named);
    const [x, y] = project(movable.body, 0);
    return { wanted: movable.body, picked: renderer.pick(poses[0], x, y), away: renderer.pick(poses[0], 0.5, 5) };
  })()`);
  assert.equal(found.picked.body, found.wanted);
  assert.ok(Math.hypot(...found.picked.localPoint) < 0.2);
  assert.ok(found.picked.distance > 0.3 && found.picked.distance < 3);
});

test("a lost WebGL context is told in a sentence and comes back", async () => {
  await page.evaluate(`open_task(${tasks()[0]})`);
  const found = await page.evaluate(`(async () => {
    const { renderer, poses } = now;
    const before = picture(5);
    const events = [];
    for (const name of ["lost", "restored"]) renderer.addEventListener(name, () => events.push(name));
    const next = (name) => new Promise((done) => renderer.addEventListener(name, done, { once: true }));
    const extension = renderer.canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
    const gone = next("lost");
    extension.loseContext();
    await gone;
    let sentence = "";
    try { renderer.draw(poses[0]); } catch (error) { sentence = error.message; }
    // The browser must first see that the loss was handled.
    await new Promise((done) => setTimeout(done, 100));
    const back = next("restored");
    extension.restoreContext();
    await back;
    return { events, sentence, apart: differ(picture(5), before) };
  })()`);
  assert.deepEqual(found.events, ["lost", "restored"]);
  assert.match(found.sentence, /took the graphics away/);
  assert.equal(found.apart, 0);
});

test("a renderer that is disposed of gives its buffers back", async () => {
  await page.evaluate(`open_task(${tasks()[0]})`);
  const gone = await page.evaluate(`(() => {
    now.renderer.dispose();
    now.renderer.dispose();
    const gl = now.renderer.canvas.getContext("webgl2");
    return gl.getError();
  })()`);
  assert.equal(gone, 0);
});
