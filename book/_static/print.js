// Paper cannot be unfolded: solutions and hints stand open while the page is printed. (The dropdowns of Sphinx open themselves.)
(() => {
  "use strict";
  const folded = () => document.querySelectorAll("article.bd-article details:not([open]):not(.hide):not(.toggle-details)");
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...folded()].filter((one) => !one.closest(".vla-player"));
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
    opened = [];
  });
})();
