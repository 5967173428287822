// The sliders of pass 4 in a real browser: mouse, keyboard, dark mode, paper, and no script.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { browser, open, serve } from "./site.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PAGE = "notebooks/04_measure.html";

describe("sliders", { concurrency: false }, () => {
  let chromium, host;
  before(async () => { chromium = await browser(); host = await serve(); });
  after(async () => { await chromium.close(); await host.close(); });

  async function sliders(options = {}) {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const { page, trouble } = await open(context, host.base, PAGE);
    const box = page.locator("[data-vla-sliders]");
    const value = (row) => box.locator(".slider-results tr").nth(row).locator("td").innerText();
    return { context, page, trouble, box, value };
  }

  test("they begin with what the table beside them says", async () => {
    const { context, trouble, box, value } = await sliders();
    assert.equal(await value(0), "45 of 50");
    assert.equal(await value(1), "78.6 % to 95.7 %");
    assert.equal(await value(2), "4.2 points");
    assert.equal(await value(4), "31.7 %");
    assert.equal(await value(5), "114 pairs");
    assert.ok(!(await box.locator(".slider-still").isVisible()));
    assert.deepEqual(trouble, []);
    await context.close();
  });

  test("the keyboard moves each of them, and is told", async () => {
    const { context, page, box, value } = await sliders();
    const rate = box.getByLabel("True success rate"), number = box.getByLabel("Episodes, or pairs");
    await rate.focus();
    await page.keyboard.press("End");
    assert.equal(await rate.getAttribute("aria-valuetext"), "100 %");
    assert.equal(await value(0), "50 of 50");
    await page.keyboard.press("Tab");
    assert.ok(await number.evaluate((one) => one === document.activeElement), "Tab goes to the next one");
    await page.keyboard.press("End");
    assert.equal(await value(0), "1000 of 1000");
    await page.keyboard.press("Home");
    assert.equal(await value(1), "20.7 % to 100 %");
    for (const label of ["Pairs that only the second run wins", "Pairs that only the first run wins"]) {
      await box.getByLabel(label).focus();
      await page.keyboard.press("Home");
    }
    assert.equal(await value(3), "0 points");
    assert.match(await value(5), /no difference/);
    await page.waitForFunction(() => document.querySelector(".slider-live").textContent.includes("0 points"));
    await context.close();
  });

  test("the bar goes with the interval", async () => {
    const { context, page, box } = await sliders();
    const width = () => box.locator(".slider-bar i").evaluate((one) => one.getBoundingClientRect().width);
    const wide = await width();
    await box.getByLabel("Episodes, or pairs").focus();
    await page.keyboard.press("End");
    assert.ok((await width()) < wide / 3);
    await context.close();
  });

  for (const colorScheme of ["light", "dark"]) for (const width of [390, 1280]) test(`no accessibility finding, ${colorScheme}, ${width} pixels`, async () => {
    const { context, page } = await sliders({ colorScheme, viewport: { width, height: 844 } });
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => axe.run({ include: ["[data-vla-sliders]"] }, { resultTypes: ["violations"] }));
    assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target)}`), []);
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0);
    await context.close();
  });

  test("paper and readers without scripts get the table", async () => {
    const { context, page, box } = await sliders();
    await page.emulateMedia({ media: "print" });
    assert.ok(!(await box.locator(".slider-moving").isVisible()));
    assert.match(await box.locator(".slider-still").innerText(), /45 of 50/);
    await context.close();
    const bare = await sliders({ javaScriptEnabled: false });
    assert.match(await bare.box.innerText(), /45 of 50[\s\S]*114/);
    await bare.context.close();
  });
});
