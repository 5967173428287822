// Paper cannot be unfolded and is white: solutions and hints stand open while the page is printed, in the light colours.
// (The dropdowns of Sphinx open themselves.)
(() => {
  "use strict";
  const folded = () => document.querySelectorAll("article.bd-article details:not([open]):not(.hide):not(.toggle-details)");
  const page = document.documentElement;
  let opened = [], theme = null;
  addEventListener("beforeprint", () => {
    opened = [...folded()].filter((one) => !one.closest(".vla-player"));
    for (const one of opened) one.open = true;
    theme = page.dataset.theme;
    if (theme) page.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
    opened = [];
    if (theme) page.dataset.theme = theme;
  });
})();
