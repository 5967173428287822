// What the tests share: the site's folder, a server as plain as a reader's, and a browser that notes every request and every error.
import { readdirSync, createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const SITE = join(ROOT, "_build", "html");
const BROWSERS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".mp4": "video/mp4", ".webp": "image/webp", ".svg": "image/svg+xml" };

export const pages = () => ["book", "notebooks"].flatMap((folder) =>
  readdirSync(join(SITE, folder)).filter((name) => name.endsWith(".html")).map((name) => `${folder}/${name}`));

export function browser() {
  const executablePath = BROWSERS.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error("No chromium: apt-get install chromium, or set CHROMIUM to its path");
  return chromium.launch({ executablePath, args: ["--no-sandbox"] }); // continuous integration runs as root
}

/** A server without Range support, like `python -m http.server`. */
export async function serve() {
  const server = createServer((request, answer) => {
    const path = join(SITE, decodeURIComponent(new URL(request.url, "http://x").pathname));
    if (!path.startsWith(SITE) || !existsSync(path) || !statSync(path).isFile()) return answer.writeHead(404).end();
    answer.writeHead(200, { "content-type": TYPES[extname(path)] || "application/octet-stream" });
    createReadStream(path).pipe(answer);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { base: `http://127.0.0.1:${server.address().port}`, close: () => new Promise((done) => { server.closeAllConnections(); server.close(done); }) };
}

export const disk = () => ({ base: pathToFileURL(SITE).href, close: async () => {} });

/** Open a page; `trouble` fills with requests to other hosts, missing files and script errors. */
export async function open(context, base, path) {
  const page = await context.newPage(), trouble = [];
  page.on("request", (r) => { if (!["data:", "blob:"].some((s) => r.url().startsWith(s)) && !r.url().startsWith(base)) trouble.push(`off the site: ${r.url()}`); });
  page.on("requestfailed", (r) => { if (r.failure()?.errorText !== "net::ERR_ABORTED") trouble.push(`failed: ${r.url()}`); });
  page.on("response", (r) => { if (r.status() >= 400) trouble.push(`${r.status()}: ${r.url()}`); });
  page.on("pageerror", (e) => trouble.push(`script: ${e.message}`));
  await page.goto(`${base}/${path}`, { waitUntil: "load" });
  return { page, trouble };
}

export async function ready(player, side) {
  await player.scrollIntoViewIfNeeded(); // a player further down loads when it comes near
  await player.locator(`section[data-side=${side}][data-state=ready]`).waitFor({ timeout: 15000 });
}
