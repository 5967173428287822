// The service worker's other end: registers it, and loads the page once more where that gives threads.

const RELOADED = "vla-live-isolated";
const LONGEST_WAIT = 3000; // milliseconds

/**
 * Register the service worker. Where the page is on its own (not in a frame) and not isolated, it is
 * loaded again, once, so that the worker's headers apply and the policy may use several threads.
 * @returns {Promise<boolean>} whether the page is about to be loaded again
 */
export async function registerServiceWorker() {
  if (!("serviceWorker" in navigator) || !isSecureContext) return false;
  try {
    await navigator.serviceWorker.register(new URL("service_worker.js", import.meta.url));
    await controlled();
    keepLoaded();
    if (crossOriginIsolated || window.top !== window) return false;
    if (sessionStorage.getItem(RELOADED)) return false;
    sessionStorage.setItem(RELOADED, "1");
    location.reload();
    return true;
  } catch {
    return false;
  }
}

/** Wait until the service worker sees this page's requests, but not for long. */
function controlled() {
  const { serviceWorker } = navigator;
  if (serviceWorker.controller) return Promise.resolve();
  return new Promise((resolve) => {
    serviceWorker.addEventListener("controllerchange", () => resolve(undefined), { once: true });
    setTimeout(resolve, LONGEST_WAIT);
  });
}

/** Have what the page loaded before it was controlled kept, too. */
function keepLoaded() {
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const here = location.href.split("#")[0];
  navigator.serviceWorker.controller?.postMessage({ keep: [here, ...loaded] });
}

/** Forget what was kept of this page, after a file was found damaged. */
export async function forgetKept() {
  navigator.serviceWorker?.controller?.postMessage("forget");
  await Promise.all((await caches.keys()).map((name) => caches.delete(name)));
}
