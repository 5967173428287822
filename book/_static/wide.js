// Tables and drawings that are wider than their column: they move sideways, are reached with Tab, and show on which side there is more.
// What a cell printed keeps its lines where it has columns; sentences are broken like sentences, and commands between their options.
(() => {
  "use strict";
  const DRAWN = "article.bd-article :is(svg.plot, img.sheet, .cell_output img):not([data-vla-player] *, .vla-player *)";
  const WIDE = "article.bd-article :is(.pst-scrollable-table-container, .sideways)";

  function wrap(drawing) {
    const drawn = drawing.closest("a.image-reference") ?? drawing; // the link to the picture itself moves with it
    const box = document.createElement("div");
    box.className = "sideways";
    drawn.replaceWith(box);
    box.append(drawn);
  }

  function tell(box) {
    const hidden = box.scrollWidth - box.clientWidth, wide = hidden > 1;
    box.classList.toggle("more-left", wide && box.scrollLeft > 1);
    box.classList.toggle("more-right", wide && box.scrollLeft < hidden - 1);
    box.tabIndex = wide ? 0 : -1;
    for (const [name, value] of [["role", "group"], ["aria-label", "Wider than the page: the arrow keys move it"]]) {
      if (wide) box.setAttribute(name, value); else box.removeAttribute(name);
    }
  }

  /* Two spaces or more between words line up columns. */
  function breakLines(printed) {
    printed.classList.toggle("sentences", !/\S {2,}\S/.test(printed.textContent));
  }

  /* A line may end behind any hyphen, so "--" would stand at the end of one line and its name on the next. */
  function keepOptions(code) {
    const texts = [], walker = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) texts.push(walker.currentNode);
    for (const text of texts) {
      const parts = text.data.split(/((?<![\w-])--[a-z][\w-]*)/);
      if (parts.length < 2) continue;
      text.replaceWith(...parts.map((part, k) => {
        if (k % 2 === 0) return part;
        const option = document.createElement("span");
        option.className = "option";
        option.textContent = part;
        return option;
      }));
    }
  }

  function upgrade() {
    document.querySelectorAll("article.bd-article :is(div.highlight-bash pre, div.highlight-text pre, :not(pre) > code)").forEach(keepOptions);
    document.querySelectorAll("article.bd-article .cell_output pre").forEach(breakLines);
    document.querySelectorAll(DRAWN).forEach(wrap);
    const sizes = new ResizeObserver((changed) => changed.forEach(({ target }) => tell(target.matches(WIDE) ? target : target.parentElement)));
    for (const box of document.querySelectorAll(WIDE)) {
      box.addEventListener("scroll", () => tell(box), { passive: true });
      sizes.observe(box);
      if (box.firstElementChild) sizes.observe(box.firstElementChild);
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", upgrade);
  else upgrade();
})();
