// Keeps what was loaded, so that the page works without a network, and adds the headers that threads
// need where a server cannot set them (GitHub Pages). Scope: the page's own folder.
//
// Files that the manifest lists are kept by address and hash. All else is asked for first and taken
// from what was kept only where there is no network: a new version of the page is never held back.

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const CACHE = "vla-tutorial-live-1";
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const KEPT_FIRST = /\/(data\/(meshes|scene|textures|states|physics|policy)|vendor)\//;

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim().then(dropOld)));

async function dropOld() {
  for (const name of await caches.keys()) {
    if (name.startsWith("vla-tutorial-live-") && name !== CACHE) await caches.delete(name);
  }
}

worker.addEventListener("message", (event) => {
  // The page found a file damaged: forget everything that was kept.
  if (event.data === "forget") event.waitUntil(caches.delete(CACHE));
  else if (Array.isArray(event.data?.keep)) event.waitUntil(keep(event.data.keep));
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const ours = new URL(request.url).origin === worker.location.origin;
  if (request.method !== "GET" || !ours) return;
  event.respondWith(answer(request).then(isolated));
});

/** Keep what a page loaded before this worker saw its requests. @param {string[]} addresses */
async function keep(addresses) {
  const cache = await caches.open(CACHE);
  const ours = addresses.filter((address) => address.startsWith(worker.registration.scope));
  for (const address of ours) {
    const found = await fetch(address).catch(() => null);
    if (found?.status === 200) await cache.put(address, found);
  }
}

/** @param {Request} request */
async function answer(request) {
  const cache = await caches.open(CACHE);
  const large = KEPT_FIRST.test(new URL(request.url).pathname);
  // "no-store" and "reload": the page wants the network's answer.
  const fresh = request.cache === "no-store" || request.cache === "reload";
  const kept = large && !fresh ? await cache.match(request) : undefined;
  if (kept) return kept;
  try {
    const found = await fetch(request);
    if (found.ok && found.status === 200) await cache.put(request, found.clone()).catch(() => {});
    return found;
  } catch (error) {
    const old = await cache.match(request, { ignoreSearch: true });
    if (old) return old;
    throw error;
  }
}

/** @param {Response} response */
function isolated(response) {
  if (response.type === "opaque" || response.status === 0) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
  const { status, statusText } = response;
  const empty = [101, 204, 205, 304].includes(status);
  return new Response(empty ? null : response.body, { status, statusText, headers });
}
