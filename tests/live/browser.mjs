// The page in a headless Chromium that draws on the CPU (SwiftShader), and a server for it.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "../browser/node_modules/playwright-core/index.mjs";
import { FOLDER } from "./built.mjs";

const PAGE = fileURLToPath(new URL("../../vla_tutorial/live/page", import.meta.url));
const HERE = fileURLToPath(new URL("pages", import.meta.url));
const BROWSERS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json", ".webp": "image/webp" };
const SOFTWARE = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];

/** Where a path of the test's server lies: the tests' pages, `first`, the page's modules as they are in the repository, or what was built. */
function fileOf(path, first) {
  const candidates = [HERE, ...first, PAGE, FOLDER].map((folder) => join(folder, path));
  return candidates.find((file) => existsSync(file) && statSync(file).isFile());
}

/** @param {{isolated?: boolean, first?: string[]}} [options] isolated: with the headers that threads need; first: folders that go before the repository's */
export async function serve({ isolated = true, first = [] } = {}) {
  const headers = isolated ? { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" } : {};
  const server = createServer((request, answer) => {
    const file = fileOf(decodeURIComponent(new URL(request.url, "http://x").pathname), first);
    if (!file) return answer.writeHead(404).end();
    answer.writeHead(200, { ...headers, "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(answer);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const close = () => new Promise((done) => { server.closeAllConnections(); server.close(done); });
  return { base: `http://127.0.0.1:${server.address().port}`, close };
}

/** What Playwright needs to start a browser that draws on the CPU. */
export function software() {
  const executablePath = BROWSERS.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error("No chromium: apt-get install chromium, or set CHROMIUM to its path");
  return { executablePath, args: SOFTWARE };
}

/**
 * A browser; options as `serve`. `page(path)` opens one whose console and errors go to the test's output. `live(hash, options)`
 * opens the live page once it is idle or impossible, and notes script errors, missing files and requests to other hosts in `trouble`.
 */
export async function launch(options = {}) {
  const browser = await chromium.launch(software());
  const { base, close } = await serve(options);
  return {
    base,
    browser,
    async page(path) {
      const page = await browser.newPage();
      page.setDefaultTimeout(600_000);
      page.on("pageerror", (error) => console.log(`script: ${error.message}`));
      page.on("console", (message) => console.log(message.text()));
      await page.goto(`${base}/${path}`);
      return page;
    },
    async live(hash = "", options = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
      const page = await context.newPage();
      const trouble = [];
      page.setDefaultTimeout(300_000); // a step may take seconds where other tests run beside this one
      page.on("pageerror", (error) => trouble.push(`script: ${error.message}`));
      page.on("console", (message) => message.type() === "error" && trouble.push(`console: ${message.text()}`));
      page.on("request", (r) => { if (!r.url().startsWith(base) && !/^(data|blob):/.test(r.url())) trouble.push(`another host: ${r.url()}`); });
      page.on("response", (r) => { if (r.status() >= 400) trouble.push(`${r.status()}: ${r.url()}`); });
      await page.goto(`${base}/index.html${hash}`);
      await page.waitForFunction(() => ["idle", "impossible"].includes(document.querySelector("#live").dataset.state));
      return { context, page, trouble };
    },
    async close() {
      await browser.close();
      await close();
    },
  };
}
