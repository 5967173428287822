// Our two widgets in a live JupyterLab. The player: it appears, a toggle changes the clip, the plot and the caption, and its keys do
// not reach the notebook. The live page: it runs in a cell's frame, and the kernel reads its steps as a pandas table.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT, browser, ready } from "./site.mjs";

const TOKEN = "only-for-this-test", PORT = 8917;
const LIVE = process.env.LIVE ?? join(ROOT, "_build", "live");
const cell = (source, i) => ({ cell_type: "code", id: `cell-${i}`, metadata: {}, execution_count: null, outputs: [], source });
const notebook = (...sources) => JSON.stringify({ cells: sources.map(cell), metadata: { kernelspec: { name: "python3", display_name: "Python 3" } }, nbformat: 4, nbformat_minor: 5 });
const NOTEBOOKS = {
  "player.ipynb": notebook('from vla_tutorial.player import Player\nPlayer(clips="' + join(ROOT, "book", "clips") + '", right=())'),
  "live.ipynb": notebook(
    `import sys\nfrom vla_tutorial.live import Live\nlive = Live(task=0, conditions=["no_flip"], run=True, folder=${JSON.stringify(LIVE)})\nlive`,
    'live.pause()\nlive.table()[["reward", "tokens"]]',
    'table = live.table()\nprint("rows", len(table), "first", table.index[0], "tokens", len(table.tokens[0]), "torch", "torch" in sys.modules)',
    'live.choose(task=0, conditions=["wrong_prompt"])',
  ),
};
let lab, folder, chromium;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "vla-lab-"));
  for (const [name, text] of Object.entries(NOTEBOOKS)) writeFileSync(join(folder, name), text);
  const options = ["lab", "--no-browser", "--allow-root", `--port=${PORT}`, "--ServerApp.port_retries=0", `--IdentityProvider.token=${TOKEN}`, `--ServerApp.root_dir=${folder}`, `--LabApp.workspaces_dir=${join(folder, ".workspaces")}`];
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

async function openNotebook(name) {
  const page = await chromium.newPage({ viewport: { width: 1400, height: 1000 } });
  // A workspace of its own: JupyterLab opens again what the last one had open, in front of or behind the notebook that is asked for.
  await page.goto(`http://127.0.0.1:${PORT}/lab/workspaces/${name.split(".")[0]}/tree/${name}?token=${TOKEN}`);
  await page.locator(".jp-Notebook .jp-CodeCell").first().waitFor({ timeout: 120000 });
  return page;
}

/** Run a cell until it shows what it should: while the kernel starts, JupyterLab forgets what it is told to run. */
async function runCell(page, i, shows, each = 10000) {
  for (let tries = 0; tries < 12 && !(await shows.isVisible()); tries++) {
    const source = page.locator(".jp-Notebook .jp-CodeCell .cm-content").nth(i); // out of sight where the output came late and is long
    if (await source.click({ timeout: 5000 }).then(() => true, () => false)) await page.keyboard.press("Control+Enter");
    await shows.waitFor({ timeout: each }).catch(() => {});
  }
}

test("the player in JupyterLab", { timeout: 300000 }, async () => {
  const page = await openNotebook("player.ipynb");
  const player = page.locator(".vla-player").first();
  await runCell(page, 0, player);
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

test("the live page in JupyterLab: it runs, and the kernel reads its log", { timeout: 900000, skip: existsSync(join(LIVE, "data", "manifest.json")) ? false : `no live page in ${LIVE}` }, async () => {
  const page = await openNotebook("live.ipynb");
  const frame = page.locator(".jp-Notebook iframe").first();
  await runCell(page, 0, frame, 60000);
  const live = page.frameLocator(".jp-Notebook iframe").first();
  await live.locator("#live[data-playing=true]").waitFor({ timeout: 300000 });
  await live.locator(".count", { hasText: /step ([3-9]|\d\d)/ }).waitFor({ timeout: 300000 });
  const output = (i) => page.locator(".jp-Notebook .jp-CodeCell").nth(i).locator(".jp-OutputArea-output");
  await runCell(page, 1, output(1).locator("table"), 30000);
  assert.match(await output(1).innerText(), /reward\s+tokens\s+step\s+0\s+0\s+\[\d{5}, /);
  await live.locator("#live[data-playing=false]").waitFor({ timeout: 60000 }); // the kernel's pause has come
  await runCell(page, 2, output(2).first(), 30000);
  const [, rows, first, tokens, torch] = (await output(2).innerText()).match(/rows (\d+) first (\d+) tokens (\d+) torch (\w+)/);
  assert.ok(Number(rows) >= 3 && first === "0" && tokens === "7", `${rows} rows`);
  assert.equal(torch, "False");
  assert.match(await live.locator(".card.pixels.broken").innerText(), /upside down/);
  await page.locator(".jp-Notebook .jp-CodeCell .cm-content").nth(3).click(); // another experiment from the kernel
  await page.keyboard.press("Control+Enter");
  await live.locator(".card.prompt.broken").waitFor({ timeout: 60000 });
});
