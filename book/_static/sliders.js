// Sliders of pass 4: <div data-vla-sliders> holds a table for paper and for readers without scripts.
// The numbers are those of vla_tutorial/stats; tests/stats/test_sliders.py compares them.
(() => {
  "use strict";
  const Z = 1.959963984540054, ALPHA = 0.05, POWER = 0.8, MOST = 2000;
  const NUMBERS = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000];

  /* Wilson's 95 % interval of k successes in n episodes, as shares. */
  function wilson(k, n) {
    const p = k / n, z2 = Z * Z, middle = (p + z2 / (2 * n)) / (1 + z2 / n);
    const half = (Z / (1 + z2 / n)) * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n * n));
    return [k === 0 ? 0 : middle - half, k === n ? 1 : middle + half];
  }

  const standardError = (p, n) => Math.sqrt((p * (1 - p)) / n);

  const logFactorials = [0];
  function logFactorial(n) {
    while (logFactorials.length <= n) logFactorials.push(logFactorials.at(-1) + Math.log(logFactorials.length));
    return logFactorials[n];
  }

  /* Probability of k of n, each with the chance p. */
  function binomial(k, n, p) {
    if (p === 0) return k === 0 ? 1 : 0;
    if (p === 1) return k === n ? 1 : 0;
    return Math.exp(logFactorial(n) - logFactorial(k) - logFactorial(n - k) + k * Math.log(p) + (n - k) * Math.log1p(-p));
  }

  /* Probability that exact McNemar rejects, given d pairs that disagree, of which this share is won. */
  function rejects(d, share) {
    let tail = 0, found = 0;
    for (let k = 0; 2 * k < d; k++) {
      tail += binomial(k, d, 0.5);
      if (tail > ALPHA / 2) break;
      found += binomial(k, d, share) + binomial(k, d, 1 - share);
    }
    return found;
  }

  /* Power of exact McNemar: a sum over how many pairs disagree. gain, loss: chance that only the second, or only the first, succeeds. */
  function mcnemarPower(pairs, gain, loss) {
    const disagree = gain + loss;
    if (disagree === 0) return 0;
    const middle = pairs * disagree, reach = 8 * Math.sqrt(pairs * disagree * (1 - disagree)) + 12;
    let power = 0;
    for (let d = Math.max(0, Math.floor(middle - reach)); d <= Math.min(pairs, Math.ceil(middle + reach)); d++)
      power += binomial(d, pairs, disagree) * rejects(d, gain / disagree);
    return Math.min(power, 1);
  }

  /* Pairs that find a difference with 80 % power, found as vla_tutorial.stats.pairs_needed does; null beyond MOST. */
  function pairsNeeded(gain, loss) {
    if (gain === loss) return null;
    let high = 6;
    while (mcnemarPower(high, gain, loss) < POWER) {
      if (high > MOST) return null;
      high *= 2;
    }
    let low = Math.floor(high / 2);
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (mcnemarPower(middle, gain, loss) >= POWER) high = middle;
      else low = middle;
    }
    return high > MOST ? null : high;
  }

  globalThis.vlaMeasure = { wilson, standardError, mcnemarPower, pairsNeeded, NUMBERS, MOST };
  if (typeof document === "undefined") return;

  const percent = (share) => `${(100 * share).toFixed(share === 0 || share === 1 ? 0 : 1)} %`;

  const SLIDERS = [
    { name: "rate", label: "True success rate", min: 0, max: 100, value: 90, says: (v) => `${v} %` },
    { name: "number", label: "Episodes, or pairs", min: 0, max: NUMBERS.length - 1, value: NUMBERS.indexOf(50), says: (v) => `${NUMBERS[v]}` },
    { name: "gain", label: "Pairs that only the second run wins", min: 0, max: 50, value: 12, says: (v) => `${v} %` },
    { name: "loss", label: "Pairs that only the first run wins", min: 0, max: 50, value: 2, says: (v) => `${v} %` },
  ];

  /* What the sliders' values say: [what, value]. */
  function lines({ rate, number, gain, loss }) {
    const n = NUMBERS[number], p = rate / 100, k = Math.round(p * n), [low, high] = wilson(k, n);
    const needed = pairsNeeded(gain / 100, loss / 100);
    const enough = gain === loss ? "no number: there is no difference" : needed === null ? `more than ${MOST}` : `${needed} pairs`;
    return { low, high, share: k / n, rows: [
      ["A usual outcome", `${k} of ${n}`],
      ["Its 95 % interval (Wilson)", `${percent(low)} to ${percent(high)}`],
      ["Standard error of the rate", `${(100 * standardError(p, n)).toFixed(1)} points`],
      ["The true difference of two runs", `${gain - loss} points`],
      [`Chance that ${n} ${n === 1 ? "pair shows" : "pairs show"} it (McNemar, 5 %)`, percent(mcnemarPower(n, gain / 100, loss / 100))],
      ["Pairs for a chance of 80 %", enough],
    ] };
  }

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  let boxes = 0;

  function build(box) {
    const number = ++boxes, values = {};
    const bar = element("div", { class: "slider-bar", "aria-hidden": "true" }, element("i", {}), element("b", {}));
    const body = element("tbody", {});
    const table = element("table", { class: "table slider-results" }, body);
    const live = element("p", { class: "slider-live", role: "status" });
    let waiting;
    const show = () => {
      const { low, high, share, rows } = lines(values);
      bar.style.setProperty("--low", `${100 * low}%`);
      bar.style.setProperty("--width", `${100 * (high - low)}%`);
      bar.style.setProperty("--share", `${100 * share}%`);
      body.replaceChildren(...rows.map(([what, value]) => element("tr", {}, element("th", { scope: "row" }, what), element("td", {}, value))));
      // Said once the slider rests, not at every step.
      clearTimeout(waiting);
      waiting = setTimeout(() => { live.textContent = rows.map((row) => row.join(": ")).join("; "); }, 600);
    };
    const controls = element("div", { class: "slider-controls" });
    for (const { name, label, min, max, value, says } of SLIDERS) {
      const id = `vla-slider-${number}-${name}`, said = element("output", { for: id }, says(value));
      const input = element("input", { type: "range", id, name, min, max, step: 1, value, "aria-valuetext": says(value) });
      values[name] = value;
      input.addEventListener("input", () => {
        values[name] = Number(input.value);
        said.textContent = says(values[name]);
        input.setAttribute("aria-valuetext", said.textContent);
        show();
      });
      controls.append(element("div", {}, element("label", { for: id }, label), said, input));
    }
    const still = element("div", { class: "slider-still" }, ...box.childNodes);
    const moving = element("div", { class: "slider-moving", role: "group", "aria-label": "Sliders: rate, episodes and pairs" }, controls, bar, table, live);
    box.replaceChildren(moving, still);
    box.classList.add("sliders");
    show();
  }

  function upgrade() {
    for (const box of document.querySelectorAll("[data-vla-sliders]")) build(box);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", upgrade);
  else upgrade();
})();
