// The player in a live JupyterLab: it appears, a toggle changes the clip, the plot and the caption, and its keys do not reach the notebook.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT, browser, ready } from "./site.mjs";

const TOKEN = "only-for-this-test", PORT = 8917;
const cell = (source) => ({ cell_type: "code", id: "one", metadata: {}, execution_count: null, outputs: [], source });
const NOTEBOOK = {
  cells: [cell('from vla_tutorial.player import Player\nPlayer(clips="' + join(ROOT, "book", "clips") + '", right=())')],
  metadata: { kernelspec: { name: "python3", display_name: "Python 3" } }, nbformat: 4, nbformat_minor: 5,
};
let lab, folder, chromium;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "vla-lab-"));
  writeFileSync(join(folder, "player.ipynb"), JSON.stringify(NOTEBOOK));
  const options = ["lab", "--no-browser", "--allow-root", `--port=${PORT}`, "--ServerApp.port_retries=0", `--IdentityProvider.token=${TOKEN}`, `--ServerApp.root_dir=${folder}`];
  lab = spawn(join(ROOT, ".venv/bin/jupyter"), options, { stdio: "ignore" });
  for (let i = 0; i < 120; i++) {
    const answer = await fetch(`http://127.0.0.1:${PORT}/api/status?token=${TOKEN}`).catch(() => null);
    if (answer?.ok) break;
    await new Promise((done) => setTimeout(done, 500));
  }
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  lab?.kill("SIGTERM");
  rmSync(folder, { recursive: true, force: true });
});

test("the player in JupyterLab", { timeout: 120000 }, async () => {
  const page = await chromium.newPage({ viewport: { width: 1400, height: 1000 } });
  await page.goto(`http://127.0.0.1:${PORT}/lab/tree/player.ipynb?token=${TOKEN}`);
  await page.locator(".jp-Notebook .jp-CodeCell").first().waitFor({ timeout: 60000 });
  const player = page.locator(".vla-player").first();
  for (let tries = 0; tries < 6 && !(await player.isVisible()); tries++) { // while the kernel starts, JupyterLab forgets what it is told to run
    await page.locator(".jp-Notebook .jp-CodeCell .cm-content").first().click();
    await page.keyboard.press("Control+Enter");
    await player.waitFor({ timeout: 10000 }).catch(() => {});
  }
  await ready(player, "left");
  await ready(player, "right");
  const right = player.locator("section[data-side=right]"), says = player.locator(".vla-says").nth(1), line = player.locator(".vla-plot path.vla-line.vla-right").first();
  const before = [await right.getAttribute("data-key"), await says.innerText(), await line.getAttribute("d")];
  await player.locator(".vla-more > summary").click();
  const box = player.locator("input[data-side=right][data-condition=no_flip]");
  await box.check();
  await player.locator('section[data-side=right][data-state=ready][data-key$="/no_flip"]').waitFor({ timeout: 15000 });
  const now = [await right.getAttribute("data-key"), await says.innerText(), await line.getAttribute("d")];
  now.forEach((value, i) => assert.notEqual(value, before[i]));
  const cells = await page.locator(".jp-Notebook .jp-Cell").count();
  await player.locator(".vla-plot").focus();
  await page.keyboard.press("Home");
  for (const key of ["ArrowRight", "ArrowRight", "b"]) await page.keyboard.press(key);
  assert.equal(await player.getAttribute("data-step"), "2");
  assert.equal(await page.locator(".jp-Notebook .jp-Cell").count(), cells, "the notebook took a key that was the player's");
});
