// How the pages look: on a telephone, in the dark, on paper, with the keyboard alone, and with less motion.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { browser, open, pages, ready, serve } from "./site.mjs";

const TELEPHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
const PAPER = { width: 718, height: 1047 }; // A4 with margins of 1 cm, at 96 dots an inch
const INDEX = "book/index.html";

describe("look", { concurrency: false }, () => {
  let chromium, host;
  before(async () => { chromium = await browser(); host = await serve(); });
  after(async () => { await chromium.close(); await host.close(); });

  /** Call `look(page, path)` on every page of the book. */
  async function everyPage(options, look, some = pages()) {
    const context = await chromium.newContext(options);
    for (const path of some) {
      const { page } = await open(context, host.base, path);
      for (const player of await page.locator(".vla-player").all()) await ready(player, "left");
      await look(page, path);
      await page.close();
    }
    await context.close();
  }

  test("on a telephone every last column is reached, and seen to be there", async () => {
    let wide = 0;
    await everyPage(TELEPHONE, async (page, path) => {
      const found = await page.evaluate(async () => {
        const said = [], boxes = [...document.querySelectorAll("article.bd-article table.table:not(.sliders *), article.bd-article svg.plot")].map((one) => one.closest(".pst-scrollable-table-container, .sideways"));
        let moving = 0;
        for (const box of boxes) {
          if (!box) { said.push("stands in no box that moves"); continue; }
          if (box.scrollWidth <= box.clientWidth + 1) continue;
          moving += 1;
          const words = box.textContent.trim().slice(0, 30);
          if (box.tabIndex !== 0 || !box.classList.contains("more-right") || box.classList.contains("more-left")) said.push(`not said at first: ${words}`);
          box.scrollLeft = box.scrollWidth;
          await new Promise((done) => setTimeout(done, 60));
          if (!box.classList.contains("more-left") || box.classList.contains("more-right")) said.push(`not said at the end: ${words}`);
          const last = box.querySelector("tr :last-child") ?? box.firstElementChild;
          if (last.getBoundingClientRect().right > innerWidth) said.push(`out of reach: ${words}`);
        }
        return { said, moving };
      });
      wide += found.moving;
      assert.deepEqual(found.said, [], path);
    });
    assert.ok(wide > 10, "the test saw wide tables");
  });

  test("on a telephone letters of drawings have 12 pixels, and what is pressed has 24", async () => {
    await everyPage(TELEPHONE, async (page, path) => {
      const found = await page.evaluate(() => {
        const article = document.querySelector("article.bd-article"), seen = (one) => one.getClientRects().length > 0;
        const tiny = [...article.querySelectorAll("svg.plot text")].filter((one) => parseFloat(getComputedStyle(one).fontSize) * Math.hypot(one.getScreenCTM().a, one.getScreenCTM().b) < 11.9).map((one) => `letters: ${one.textContent}`);
        const size = (one) => { const box = (one.closest("label") ?? one).getBoundingClientRect(); return Math.min(box.width, box.height); };
        const small = [...article.querySelectorAll("button:not(.copybtn), input, select, summary, .vla-run")].filter((one) => seen(one) && size(one) < 24).map((one) => `${one.className} ${one.textContent.slice(0, 20)}: ${size(one)}`);
        return [...tiny, ...small];
      });
      assert.deepEqual(found, [], path);
    });
  });

  test("on a telephone the titles of the player's plots stand behind its cursor and end in the plot", async () => {
    let titles = 0;
    await everyPage({ ...TELEPHONE, viewport: { width: 360, height: 800 } }, async (page, path) => {
      const found = await page.evaluate(() => [...document.querySelectorAll(".vla-plot")].flatMap((plot) => {
        const [edge, cursor] = [plot.querySelector("svg"), plot.querySelector(".vla-cursor")].map((one) => one.getBoundingClientRect());
        return [...plot.querySelectorAll(".vla-name")].map((one) => [one.textContent, cursor.right <= one.getBoundingClientRect().left && one.getBoundingClientRect().right <= edge.right]);
      }));
      titles += found.length;
      assert.deepEqual(found.filter(([, well]) => !well), [], path);
    }, [INDEX, "book/conditions_prompt.html", "notebooks/03_when_the_script_is_right.html"]);
    assert.ok(titles > 15, "the test saw titles");
  });

  test("a slide fills a screen and not more; on a telephone slides and worksheet are no wider than the page, and wide pictures move", async () => {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 720 } }), telephone = await chromium.newContext(TELEPHONE);
    const { page } = await open(context, host.base, "class/slides.html");
    assert.deepEqual(await page.locator("section").evaluateAll((all) => all.map((one) => Math.round(one.getBoundingClientRect().height))), Array(10).fill(720));
    for (const name of ["slides", "worksheet"]) {
      const { page: small } = await open(telephone, host.base, `class/${name}.html`);
      assert.ok(await small.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth), name);
      const moving = await small.locator(".wide").evaluateAll((all) => all.filter((one) => one.scrollWidth > one.clientWidth && one.tabIndex === 0).length);
      assert.equal(moving, name === "slides" ? 4 : 0, name);
    }
    await Promise.all([context.close(), telephone.close()]);
  });

  test("what a cell said in sentences is broken, what stands in columns is not", async () => {
    await everyPage(TELEPHONE, async (page, path) => {
      const [sentences, columns] = await page.evaluate(() => {
        const all = [...document.querySelectorAll(".cell_output pre")];
        return [all.filter((one) => one.matches(".sentences")), all.filter((one) => !one.matches(".sentences"))].map((some) => some.map((one) => one.scrollWidth - one.clientWidth));
      });
      assert.ok(Math.max(...sentences, 0) <= 1, `${path}: ${sentences}`);
      if (path.includes("lab")) assert.ok(sentences.length > 10);
      else assert.ok(Math.max(...columns) > 1, "a table of 80 letters moves sideways");
    }, ["notebooks/lab_classroom.html", "notebooks/04_measure.html"]);
  });

  test("in the dark no light sheet lies under pale letters, and camera pictures keep their colours", async () => {
    await everyPage({ colorScheme: "dark", viewport: { width: 1280, height: 900 } }, async (page, path) => {
      const found = await page.evaluate(() => {
        const bright = (colour) => { const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number); return a < 0.1 ? null : (r + g + b) / 3; };
        const under = (one) => { for (let at = one; at; at = at.parentElement) { const level = bright(getComputedStyle(at).backgroundColor); if (level !== null) return level; } return 0; };
        return [...document.querySelectorAll(".cell_output :is(td, th, code, p, b)")].filter((one) => one.getClientRects().length && one.textContent.trim() && Math.abs(bright(getComputedStyle(one).color) - under(one)) < 70)
          .map((one) => one.textContent.slice(0, 30));
      });
      assert.deepEqual(found, [], path);
      const turned = await page.locator(".cell_output img:not(.on-white)").evaluateAll((all) => all.filter((one) => getComputedStyle(one).filter.includes("invert")).length);
      assert.equal(turned, 0, path);
    });
  });

  test("on paper: cells and players may be divided, a player and each of its parts leave room, colours are light", async () => {
    await everyPage({ viewport: PAPER, colorScheme: "dark" }, async (page, path) => {
      await page.emulateMedia({ media: "print", colorScheme: "dark" });
      await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
      const found = await page.evaluate((height) => {
        const said = [], article = document.querySelector("article.bd-article");
        if (document.documentElement.dataset.theme !== "light") said.push("dark");
        for (const cell of [...article.querySelectorAll(".cell_input pre")].filter((one) => one.getClientRects().length)) for (let at = cell; at !== article; at = at.parentElement) {
          const { display, breakInside } = getComputedStyle(at);
          if (display !== "block" || breakInside !== "auto") said.push(`${at.className}: ${display}, ${breakInside}`); // its empty frame would stay on the page before
        }
        for (const picture of article.querySelectorAll("figure img")) if (picture.getBoundingClientRect().height > 0.85 * height) said.push(`a figure that leaves no room for its words: ${picture.alt.slice(0, 40)}`);
        for (const player of article.querySelectorAll(".vla-player")) {
          if (getComputedStyle(player).breakInside !== "auto") said.push("a player begins a new page");
          const high = player.getBoundingClientRect().height;
          if (high > 0.85 * height) said.push(`a player of ${high} pixels`);
          for (const part of player.querySelectorAll(".vla-pair, .vla-plot")) if (part.getBoundingClientRect().height > 0.45 * height) said.push(`${part.className} of ${part.getBoundingClientRect().height} pixels`);
        }
        return [...new Set(said)];
      }, PAPER.height);
      assert.deepEqual(found, [], path);
      await page.evaluate(() => dispatchEvent(new Event("afterprint")));
      assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark", path);
    });
  });

  for (const [words, wanted, presses] of [["Skip to the live run", "live-run", 2], ["Skip to the recorded runs", "vla-play", 3]]) test(`${words}: ${presses} presses of Tab and Enter`, async () => {
    const context = await chromium.newContext({ viewport: { width: 1280, height: 900 } });
    const { page } = await open(context, host.base, INDEX);
    await page.locator(".vla-play").waitFor();
    for (let k = 0; k < presses; k++) await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), words);
    await page.waitForFunction(() => document.activeElement.getBoundingClientRect().top >= 0);
    await page.keyboard.press("Enter");
    assert.ok(await page.evaluate((name) => document.activeElement.classList.contains(name), wanted));
    assert.ok(await page.evaluate(() => { const { top, bottom } = document.activeElement.getBoundingClientRect(); return top >= 0 && bottom <= innerHeight; }));
    await context.close();
  });

  test("a page without runs offers no way to them", async () => {
    const context = await chromium.newContext();
    const { page } = await open(context, host.base, "book/glossary.html");
    assert.deepEqual(await page.locator("#pst-skip-link a").allInnerTexts(), ["Skip to main content"]);
    await context.close();
  });

  for (const colorScheme of ["light", "dark"]) test(`who comes with the keyboard sees where, ${colorScheme}`, async () => {
    await everyPage({ colorScheme, viewport: { width: 1280, height: 900 } }, async (page, path) => {
      await page.keyboard.press("Tab"); // from here on the browser takes the reader for one with a keyboard
      const found = await page.evaluate(() => {
        const style = (one) => { const { outlineStyle, outlineWidth, outlineColor, boxShadow, backgroundColor } = getComputedStyle(one); return outlineStyle === "none" ? [boxShadow, backgroundColor].join() : [outlineStyle, outlineWidth, outlineColor, boxShadow, backgroundColor].join(); };
        const looks = (one) => [one, one.nextElementSibling].filter(Boolean).map(style).join("|");
        const hidden = [];
        for (const one of document.querySelectorAll("article.bd-article :is(a[href], button, input, select, summary, [tabindex='0'])")) {
          if (!one.getClientRects().length || one.disabled || one.matches(".copybtn, .headerlink")) continue;
          const before = looks(one);
          one.focus();
          if (document.activeElement === one && looks(one) === before) hidden.push(`${one.tagName}.${one.className} ${one.textContent.slice(0, 30)}`);
        }
        return hidden;
      });
      assert.deepEqual(found, [], path);
    });
  });

  test("less motion: nothing moves by itself; else the two runs of the first page do", async () => {
    await everyPage({ reducedMotion: "reduce", viewport: { width: 1280, height: 900 } }, async (page, path) => {
      await page.waitForTimeout(300);
      const moving = await page.evaluate(() => [
        ...[...document.querySelectorAll("video")].filter((one) => !one.paused).map((one) => one.currentSrc),
        ...document.getAnimations().filter((one) => one.playState === "running").map((one) => one.animationName ?? one.transitionProperty),
      ]);
      assert.deepEqual(moving, [], path);
    });
    const context = await chromium.newContext({ reducedMotion: "no-preference", viewport: { width: 1280, height: 900 } });
    const { page } = await open(context, host.base, INDEX);
    await page.waitForFunction(() => [...document.querySelectorAll("[data-vla-loop] video")].every((one) => one.currentTime > 0.2));
    await page.getByRole("button", { name: "Pause the videos" }).click();
    assert.ok(await page.locator("[data-vla-loop] video").evaluateAll((all) => all.every((one) => one.paused)), "and stop when they are told to");
    await context.close();
  });
});
