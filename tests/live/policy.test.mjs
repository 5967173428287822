// The policy in Chromium: its worker, threads, tokens equal to Python's, and what goes wrong said in a sentence.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { FOLDER, MANIFEST, SUITE } from "./built.mjs";

const ANSWERS = JSON.parse(readFileSync(join(FOLDER, "vectors", "policy.json"), "utf8"));
const EXPECTED = ANSWERS.map((answer) => answer.tokens.join());
let chromium;
before(async () => { chromium = await launch(); });
after(() => chromium.close());

async function open() {
  const page = await chromium.page("policy.html");
  await page.waitForFunction("window.ready");
  return page;
}
const joined = (found) => found.map(({ tokens }) => tokens.join());

test("every token equals Python's, with two threads", { timeout: 600_000 }, async () => {
  const page = await open();
  const loaded = await page.evaluate(() => window.load(2, "auto"));
  assert.equal(loaded.provider, "wasm", "SwiftShader's WebGPU is no gain");
  assert.notEqual(loaded.reason, "");
  assert.equal(loaded.threads, Math.min(2, loaded.possible));
  assert.equal(loaded.progress.at(-1), 1);
  const found = await page.evaluate(([wiring, most]) => window.vectors(wiring, false, most), [SUITE.wiring, 1e9]);
  assert.deepEqual(joined(found), EXPECTED);
  await page.close();
});

test("one thread, and the page's own pixels", { timeout: 600_000 }, async () => {
  const page = await open();
  assert.equal((await page.evaluate(() => window.load(1, "wasm"))).threads, 1);
  const found = await page.evaluate(([wiring, most]) => window.vectors(wiring, true, most), [SUITE.wiring, 20]);
  assert.deepEqual(joined(found), EXPECTED.slice(0, 20));
  await page.close();
});

test("a prompt that is too long is refused, and the next one is answered", { timeout: 300_000 }, async () => {
  const page = await open();
  await page.evaluate(() => window.load(1, "wasm"));
  const black = new Array(224 * 224 * 3).fill(0);
  const { longestPrompt } = MANIFEST.policies.mini;
  const asked = (length) => page.evaluate(([picture, count]) => window.predict(picture, new Array(count).fill(5)).then((found) => found.tokens.length, (error) => error.message), [black, length]);
  assert.equal(await asked(longestPrompt), 7);
  assert.equal(await asked(longestPrompt + 1), `A prompt has ${longestPrompt + 1} ids; beside the image and 7 actions there is room for ${longestPrompt}. Shorten the instruction.`);
  assert.equal(await asked(30), 7);
  await page.close();
});

test("a damaged file, one that is missing, and a name that does not exist", { timeout: 300_000 }, async () => {
  const page = await open();
  const file = MANIFEST.policies.mini.file;
  const failure = () => page.evaluate(() => window.load(1, "wasm").then(() => "it loaded", (error) => error.message));
  await page.route(`**/${file}`, async (route) => {
    const content = readFileSync(join(FOLDER, file));
    content[content.length >> 1] ^= 1;
    await route.fulfill({ body: content });
  });
  assert.match(await failure(), /mini\w*\.onnx\.gz is damaged\. Reload the page/);
  await page.unroute(`**/${file}`);
  await page.route(`**/${file}`, (route) => route.fulfill({ status: 404, body: "" }));
  assert.match(await failure(), /mini\w*\.onnx\.gz is missing \(404\)/);
  await page.unroute(`**/${file}`);
  const unknown = await page.evaluate(async () => {
    const { Policy } = await import("/policy.js");
    return Policy.load({ base: "", manifest: { policies: { a: {}, b: {} } }, name: "c" }).catch((error) => error.message);
  });
  assert.equal(unknown, "Unknown policy 'c'. Known: a, b.");
  await page.close();
});

test("a policy that is closed rejects what waits", { timeout: 300_000 }, async () => {
  const page = await open();
  await page.evaluate(() => window.load(1, "wasm"));
  const said = await page.evaluate(() => {
    const waiting = window.predict(new Uint8Array(224 * 224 * 3), [1, 2, 3]);
    window.policy.dispose();
    return waiting.then(() => "answered", (error) => error.message);
  });
  assert.equal(said, "The policy stopped: it was closed. Reload the page.");
  await page.close();
});
