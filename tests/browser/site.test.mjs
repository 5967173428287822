// The built site, from a disk and from a server: every page, every toggle of the player, the cursor, the keyboard, bad clips, no JavaScript.
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { SITE, browser, disk, open, pages, ready, serve } from "./site.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const OURS = ["article.bd-article"];
const INDEX = "book/index.html";
let chromium;
before(async () => { chromium = await browser(); });
after(() => chromium.close());

const seen = (player, side) => player.evaluate((root, name) => ({
  key: root.querySelector(`section[data-side=${name}]`).dataset.key,
  video: root.querySelector(`section[data-side=${name}] video`).currentSrc,
  lines: [...root.querySelectorAll(`.vla-plot path.vla-line.vla-${name}`)].map((p) => p.getAttribute("d")).join(),
  says: root.querySelectorAll(".vla-says")[name === "left" ? 0 : 1].textContent,
}), side);

for (const [name, start] of [["disk", disk], ["server", serve]]) describe(`from a ${name}`, { concurrency: false }, () => {
  let host, context;
  before(async () => { host = await start(); context = await chromium.newContext({ viewport: { width: 1280, height: 900 } }); });
  after(async () => { await context.close(); await host.close(); });

  test("every page opens without trouble and asks nobody else", async () => {
    for (const path of pages()) {
      const { page, trouble } = await open(context, host.base, path);
      await page.waitForTimeout(300);
      assert.deepEqual(trouble, [], path);
      assert.equal(await page.locator("article h1").count(), 1, `${path}: one heading of the first rank`);
      await page.close();
    }
  });

  test("every toggle changes clip, plot and caption, first frame timed", async () => {
    const { page, trouble } = await open(context, host.base, INDEX);
    const player = page.locator(".vla-player").first(), took = [];
    await ready(player, "left");
    await ready(player, "right");
    await player.locator(".vla-more > summary").click();
    for (const box of await player.locator("input[data-side=right]:checked").all()) await box.uncheck();
    for (const condition of await player.locator("input[data-side=right]").evaluateAll((all) => all.map((box) => box.dataset.condition))) {
      await ready(player, "right");
      const before = await seen(player, "right"), box = player.locator(`input[data-side=right][data-condition=${condition}]`), started = Date.now();
      await box.check();
      await player.locator(`section[data-side=right][data-state=ready][data-key$="/${condition}"]`).waitFor({ timeout: 10000 });
      took.push(Date.now() - started);
      await page.waitForFunction(([old]) => [...document.querySelectorAll(".vla-plot path.vla-line.vla-right")].map((p) => p.getAttribute("d")).join() !== old, [before.lines]);
      const now = await seen(player, "right");
      for (const part of ["key", "video", "says"]) assert.notEqual(now[part], before[part], `${condition}: ${part}`);
      await box.uncheck();
    }
    took.sort((a, b) => a - b);
    console.log(`# first frame after a toggle: median ${took[took.length >> 1]} ms, longest ${took.at(-1)} ms`);
    assert.deepEqual(trouble, []);
    await page.close();
  });

  test("the cursor follows the mouse, the keyboard and the film", async () => {
    const { page } = await open(context, host.base, INDEX);
    const player = page.locator(".vla-player").first(), plot = player.locator(".vla-plot");
    const step = async () => Number(await player.getAttribute("data-step"));
    await ready(player, "left");
    await plot.scrollIntoViewIfNeeded();
    const box = await plot.boundingBox(), at = (share) => [box.x + 60 + (box.width - 112) * share, box.y + 60];
    await page.mouse.move(...at(0.2));
    await page.mouse.down();
    await page.mouse.move(...at(0.4), { steps: 4 });
    const dragged = await step();
    await page.mouse.move(...at(0.7), { steps: 4 });
    assert.ok(dragged > 0 && (await step()) > dragged, "dragging to the right goes forward");
    await page.mouse.up();
    await plot.focus();
    const here = await step();
    await page.keyboard.press("ArrowLeft");
    assert.equal(await step(), here - 1);
    await page.keyboard.press("Home");
    assert.equal(await step(), 0);
    await page.keyboard.press("Shift+ArrowRight");
    assert.equal(await step(), 20);
    await page.keyboard.press("Space");
    await page.waitForFunction(() => Number(document.querySelector(".vla-player").dataset.step) > 25);
    await page.keyboard.press("Space");
    const stopped = await step(), film = await player.locator("section[data-side=left] video").evaluate((v) => v.currentTime * 20);
    assert.ok(Math.abs(film - stopped) <= 3, `film at step ${film.toFixed(1)}, cursor at ${stopped}`);
    await page.keyboard.press("End");
    assert.equal(await step(), Number(await plot.getAttribute("aria-valuemax")));
    await page.close();
  });

  test("a broken clip is said and the plot still works", async () => {
    const { page } = await (async () => {
      await context.route("**/published/episode.mp4", (route) => route.abort());
      return open(context, host.base, INDEX);
    })();
    const player = page.locator(".vla-player").first();
    await player.scrollIntoViewIfNeeded();
    await player.locator("section[data-side=left][data-state=failed]").waitFor({ timeout: 15000 });
    assert.match(await player.locator("section[data-side=left]").innerText(), /plot still works/i);
    assert.ok((await seen(player, "left")).lines.length > 100);
    await context.unroute("**/published/episode.mp4");
    await page.close();
  });
});

describe("for everybody", { concurrency: false }, () => {
  let host;
  before(async () => { host = await serve(); });
  after(() => host.close());

  for (const colorScheme of ["light", "dark"]) test(`no serious accessibility finding in our parts, ${colorScheme}`, async () => {
    const context = await chromium.newContext({ colorScheme, viewport: { width: 1280, height: 900 } });
    for (const path of pages()) {
      const { page } = await open(context, host.base, path);
      for (const player of await page.locator(".vla-player").all()) await ready(player, "left");
      await page.evaluate(AXE);
      const { violations } = await page.evaluate((include) => axe.run({ include }, { resultTypes: ["violations"] }), OURS);
      const serious = violations.filter((v) => ["serious", "critical"].includes(v.impact));
      assert.deepEqual(serious.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).slice(0, 4).join(" · ")}`), [], path);
      await page.close();
    }
    await context.close();
  });

  for (const width of [390, 1280]) test(`nothing wider than a window of ${width} pixels`, async () => {
    const context = await chromium.newContext({ viewport: { width, height: 844 } });
    for (const path of pages()) {
      const { page } = await open(context, host.base, path);
      for (const player of await page.locator(".vla-player").all()) await ready(player, "left");
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, path);
      await page.close();
    }
    await context.close();
  });

  test("a page is at most 500 KB before clips, the player at most 48 KB", () => {
    for (const path of pages()) {
      const size = readFileSync(join(SITE, path), "utf8").replace(/<script type="application\/json">.*?<\/script>/gs, "").length; // episodes of this very run
      assert.ok(size <= 500_000, `${path}: ${size}`);
    }
    assert.ok(statSync(join(SITE, "_static/player.js")).size <= 48_000);
  });

  test("every picture says what is seen, in words", async () => {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 900 } });
    for (const path of pages()) {
      const { page } = await open(context, host.base, path);
      for (const player of await page.locator(".vla-player").all()) await ready(player, "left");
      const alts = await page.locator("article img[src]").evaluateAll((all) => all.map((img) => img.alt));
      for (const alt of alts) {
        assert.doesNotMatch(alt, /_images|\.(png|webp|jpe?g|svg)\b/, path);
        assert.ok(alt.trim().split(/\s+/).length >= 5, `${path}: “${alt}”`);
      }
      await page.close();
    }
    await context.close();
  });

  test("no Markdown stays as it was typed", async () => {
    const context = await chromium.newContext();
    for (const path of pages()) {
      const { page } = await open(context, host.base, path);
      const raw = await page.evaluate(() => {
        const article = document.querySelector("article.bd-article").cloneNode(true);
        article.querySelectorAll("pre, code, script, style, .vla-player").forEach((one) => one.remove());
        return article.textContent.match(/[^\n]*(`|\*\*)[^\n]*/g) || [];
      });
      assert.deepEqual(raw, [], path);
      await page.close();
    }
    await context.close();
  });

  test("the player says what was recorded, and offers nothing else", async () => {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 900 } });
    const { page } = await open(context, host.base, INDEX);
    const player = page.locator(".vla-player").first(), status = player.locator(".vla-status"), right = player.locator("section[data-side=right]");
    const box = (name) => player.locator(`input[data-side=right][data-condition=${name}]`);
    await ready(player, "right");
    await player.locator(".vla-more > summary").click();
    const count = (n, task, init) => page.evaluate(([m, k, i]) => globalThis.VLA_CLIPS.episodes.filter((e) => e.task === k && e.init === i && e.conditions.length === m).length, [n, task, init]);
    assert.match(await player.locator(".vla-rest").innerText(), new RegExp(`each of the ${await count(1, 0, 0)} switches alone, and ${await count(2, 0, 0)} pairs`));
    await box("wrong_prompt").check(); // beside wrong_unnorm_key: no clip
    assert.equal(await right.getAttribute("data-key"), "0_0/wrong_prompt");
    assert.ok(!(await box("wrong_unnorm_key").isChecked()));
    assert.match(await status.innerText(), /wrong_prompt together with wrong_unnorm_key was not recorded/);
    assert.match(await player.locator("a.vla-run").getAttribute("href"), /live\/index\.html#task=0&init=0&a=&b=wrong_prompt$/);
    await box("no_flip").check();
    assert.equal(await right.getAttribute("data-key"), "0_0/no_flip+wrong_prompt", "a pair that was recorded");
    await box("wrong_unnorm_key").check();
    await box("wrong_suite_key").check(); // the same setting
    assert.match(await status.innerText(), /wrong_unnorm_key was switched off, because wrong_suite_key changes the same setting/);
    await box("noise_10").check();
    await player.locator("select").first().selectOption("3_0");
    assert.equal(await player.locator("input[data-side=right]").count(), await count(1, 3, 0), "switches of this task alone");
    await player.locator("section[data-side=right][data-state=none]").waitFor(); // noise_10 was recorded for the first task only
    assert.match(await status.innerText(), /not recorded/);
    assert.ok((await right.locator(".vla-message button").count()) > 0, "the nearest are offered");
    assert.equal(await right.locator(".vla-message a").count(), 1, "and the live page");
    await context.close();
  });

  test("a second can: fails from another start, which is one press away", async () => {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 900 } });
    const { page } = await open(context, host.base, INDEX);
    const player = page.locator(".vla-player").first();
    await ready(player, "right");
    await player.locator(".vla-more > summary").click();
    for (const on of await player.locator("input[data-side=right]:checked").all()) await on.uncheck();
    await player.locator("input[data-side=right][data-condition=second_can]").check();
    await player.locator(".vla-says").nth(1).getByRole("button", { name: /initial state 27/ }).click();
    await player.locator('section[data-side=right][data-key="0_27/second_can"][data-state=ready]').waitFor({ timeout: 15000 });
    await player.locator(".vla-skip").click();
    assert.match(await player.locator("section[data-side=right] .vla-verdict").innerText(), /no success in 280 steps/);
    assert.match(await player.locator("section[data-side=left] .vla-verdict").innerText(), /done at step/);
    await context.close();
  });

  test("how it ends is hidden until it was played, and then said", async () => {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 900 } });
    const { page } = await open(context, host.base, INDEX);
    const player = page.locator(".vla-player").first(), verdict = player.locator("section[data-side=right] .vla-verdict");
    const cut = () => player.locator("clipPath rect").evaluateAll((all) => all.map((rect) => Number(rect.getAttribute("width"))));
    await ready(player, "left");
    await ready(player, "right");
    assert.ok(!(await verdict.isVisible()) && !(await player.locator(".vla-caption").first().isVisible()));
    assert.doesNotMatch(await player.innerText(), /done at step|no success|What happened/);
    const before = await cut(), width = (await player.locator(".vla-plot").boundingBox()).width;
    assert.ok(Math.max(...before) < 0.2 * width, "curves ahead are hidden");
    await player.locator(".vla-predict input").nth(1).check();
    await player.locator(".vla-plot").focus();
    for (let k = 0; k < 7; k++) await page.keyboard.press("PageUp"); // to step 140, where A has ended and B has not
    const over = player.locator("section[data-side=left] .vla-over");
    assert.ok(await over.isVisible());
    assert.match(await over.innerText(), /A is done: ended at step 126/);
    assert.ok(!(await player.locator("section[data-side=right] .vla-over").isVisible()) && !(await verdict.isVisible()));
    const half = await cut();
    assert.ok(half[1] > before[1] && half[1] < 0.8 * width && half[0] > 0.95 * width);
    await player.locator(".vla-skip").click();
    assert.match(await verdict.innerText(), /no success in 280 steps/);
    assert.match(await player.locator(".vla-status").innerText(), /You expected B not to do the task, and you were right/);
    assert.match(await player.locator(".vla-caption").nth(1).innerText(), /The arm hardly moves/);
    await context.close();
  });

  test("what the policy sees moves, and at step 0 equals its recorded first picture", async () => {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 900 } });
    const { page } = await open(context, host.base, INDEX);
    const player = page.locator(".vla-player").first();
    const apart = (red) => page.evaluate(async (order) => {
      const section = document.querySelector("section[data-side=right]"), still = section.querySelector(".vla-sees img"), view = section.querySelector(".vla-sees canvas");
      await still.decode();
      const pen = new OffscreenCanvas(224, 224).getContext("2d");
      pen.drawImage(still, 0, 0, 224, 224);
      const one = pen.getImageData(0, 0, 224, 224).data, two = view.getContext("2d").getImageData(0, 0, 224, 224).data;
      let sum = 0;
      for (let i = 0; i < one.length; i += 4) for (let k = 0; k < 3; k++) sum += Math.abs(one[i + k] - two[i + order[k]]);
      return sum / (224 * 224 * 3);
    }, red);
    await ready(player, "right");
    await player.locator(".vla-more > summary").click();
    for (const on of await player.locator("input[data-side=right]:checked").all()) await on.uncheck();
    for (const name of ["no_flip", "flip_only", "no_center_crop", "bgr"]) {
      await player.locator(`input[data-side=right][data-condition=${name}]`).check();
      await player.locator(`section[data-side=right][data-state=ready][data-key$="/${name}"]`).waitFor({ timeout: 15000 });
      await page.waitForFunction(() => { const s = document.querySelector("section[data-side=right]"); return s.querySelector(".vla-sees img").complete && !s.querySelector("canvas").hidden && !s.querySelector("video").seeking; });
      const order = name === "bgr" ? [2, 1, 0] : [0, 1, 2]; // a filter of the page swaps them, which a script does not see
      assert.ok((await apart(order)) < 8, `${name}: ${await apart(order)} grey levels`); // 2.2 to 3.3 were seen
      await player.locator(`input[data-side=right][data-condition=${name}]`).uncheck();
    }
    await player.locator("input[data-side=right][data-condition=bgr]").check();
    await ready(player, "right");
    assert.match(await player.locator("section[data-side=right] canvas").evaluate((view) => getComputedStyle(view).filter), /url\(/);
    const before = await player.locator("section[data-side=right] canvas").evaluate((view) => view.toDataURL());
    await player.locator(".vla-skip").click();
    await page.waitForFunction((old) => document.querySelector("section[data-side=right] canvas").toDataURL() !== old, before, { timeout: 15000 });
    await context.close();
  });

  test("few presses of Tab to Play, large pictures, letters of 12 pixels or more", async () => {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 900 } });
    const { page } = await open(context, host.base, INDEX);
    const player = page.locator(".vla-player").first();
    await ready(player, "right");
    await player.locator("select").first().focus();
    let presses = 0;
    while (presses < 9 && !(await page.evaluate(() => document.activeElement.classList.contains("vla-play")))) {
      await page.keyboard.press("Tab");
      presses += 1;
    }
    assert.ok(presses <= 4, `${presses} presses from the list of tasks to Play`);
    const wide = () => player.locator(".vla-stage").first().evaluate((stage) => stage.getBoundingClientRect().width);
    const small = await wide();
    assert.ok(small > 300, `${small}`);
    await player.locator(".vla-enlarge").click();
    await page.waitForFunction((old) => document.querySelector(".vla-stage").getBoundingClientRect().width > 1.3 * old, small);
    await player.locator(".vla-enlarge").click();
    await page.waitForFunction((old) => Math.abs(document.querySelector(".vla-stage").getBoundingClientRect().width - old) < 2, small);
    await player.locator(".vla-more > summary").click();
    const letters = await player.evaluate((root) => [...root.querySelectorAll("*")].filter((one) => [...one.childNodes].some((c) => c.nodeType === 3 && c.data.trim())).map((one) => parseFloat(getComputedStyle(one).fontSize)));
    assert.ok(Math.min(...letters) >= 12, `${Math.min(...letters)}`);
    const rows = await player.locator(".vla-row:not(.vla-letters)").evaluateAll((all) => all.map((row) => row.innerText.trim().split(/\s+/).length));
    assert.ok(rows.length > 20 && rows.every((words) => words > 4), "each switch says what it means");
    await context.close();
  });

  test("on paper: players that were never scrolled to, whole lines, solutions unfolded", async () => {
    const context = await chromium.newContext({ viewport: { width: 718, height: 1000 } }); // A4 without margins of 1 cm, at 96 dots an inch
    for (const path of ["notebooks/02_silent_failures.html", "notebooks/01_success.html", "book/conditions.html", "book/setup.html"]) {
      const { page } = await open(context, host.base, path);
      const players = page.locator(".vla-player");
      for (const player of await players.all()) await page.waitForFunction((root) => root.dataset.state === "ready", await player.elementHandle(), { timeout: 15000 });
      await page.waitForLoadState("networkidle");
      await page.emulateMedia({ media: "print" });
      await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
      const found = await page.evaluate(() => {
        const article = document.querySelector("article.bd-article"), right = article.getBoundingClientRect().right + 1;
        const seen = (node) => node.getClientRects().length > 0;
        const grey = [...document.querySelectorAll(".vla-stage")].filter((stage) => seen(stage) && ![...stage.querySelectorAll("img, video")].some((one) => seen(one) && (one.naturalWidth || one.videoWidth)));
        const blank = [...document.querySelectorAll(".vla-plot")].filter((plot) => !plot.querySelector("path.vla-line"));
        const cut = [...article.querySelectorAll("pre")].filter((pre) => seen(pre) && pre.scrollWidth > pre.clientWidth + 1);
        const wide = [...article.querySelectorAll("svg, img, table, pre")].filter((one) => seen(one) && one.getBoundingClientRect().right > right);
        const folded = [...article.querySelectorAll("details:not([open]):not(.hide)")].filter((one) => !one.closest(".vla-player"));
        return Object.entries({ grey, blank, cut, wide, folded }).filter(([, all]) => all.length).map(([name, all]) => `${name}: ${all.map((one) => one.outerHTML.slice(0, 120)).join(" | ")}`);
      });
      assert.deepEqual(found, [], path);
      await page.evaluate(() => dispatchEvent(new Event("afterprint")));
      assert.equal(await page.locator("article details[open]:not(.hide):not(.vla-player *)").count(), 0, `${path}: folded again`);
      await page.close();
    }
    await context.close();
  });

  test("without JavaScript there are words, a table and still pictures", async () => {
    const context = await chromium.newContext({ javaScriptEnabled: false });
    const first = await open(context, host.base, INDEX);
    assert.match(await first.page.locator("article").innerText(), /needs JavaScript/);
    const { page } = await open(context, host.base, "notebooks/02_silent_failures.html");
    const player = page.locator("[data-vla-player]").first();
    assert.ok((await player.locator("table tr").count()) > 1);
    const pictures = await player.locator("img").evaluateAll((all) => all.map((i) => i.complete && i.naturalWidth > 0));
    assert.ok(pictures.length > 0 && pictures.every(Boolean));
    await context.close();
  });

  test("one search field is visible, and the search finds pages", async () => {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 900 } });
    const { page, trouble } = await open(context, host.base, "search.html?q=gripper");
    await page.locator("#search-results li").first().waitFor({ timeout: 15000 });
    assert.deepEqual(trouble, []);
    const other = await open(context, host.base, INDEX);
    assert.equal(await other.page.locator("button.search-button-field:visible, form.bd-search:visible").count(), 1);
    await context.close();
  });
});
