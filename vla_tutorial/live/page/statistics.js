/** Intervals and comparisons, equal to vla_tutorial/stats. */
import { LiveError } from "./errors.js";

/** The normal distribution's 97.5 % quantile: intervals hold 95 %. */
const Z = 1.959963984540054;

/** @typedef {{low: number, high: number}} Interval */

/**
 * Wilson's interval of a share (Wilson 1927).
 * @param {number} successes
 * @param {number} episodes at least one
 * @returns {Interval}
 */
export function wilson(successes, episodes) {
  if (!(episodes >= 1) || !(successes >= 0 && successes <= episodes)) {
    throw new LiveError(`There is no success rate of ${successes} in ${episodes} episodes.`);
  }
  const p = successes / episodes;
  const scale = 2 * (episodes + Z ** 2);
  const centre = (2 * episodes * p + Z ** 2) / scale;
  const margin = (Z / scale) * Math.sqrt(4 * episodes * p * (1 - p) + Z ** 2);
  return {
    low: successes === 0 ? 0 : centre - margin,
    high: successes === episodes ? 1 : centre + margin,
  };
}

/**
 * Exact two-sided p value of McNemar's test: do pairs that disagree go either way alike?
 * @param {number} onlyA pairs in which only the first run succeeds
 * @param {number} onlyB pairs in which only the second one does
 */
export function mcnemar(onlyA, onlyB) {
  const pairs = onlyA + onlyB;
  const fewer = Math.min(onlyA, onlyB);
  if (onlyA === onlyB) return 1;
  // Twice the probability of `fewer` heads or less in as many tosses. Logarithms never underflow.
  let logarithm = -pairs * Math.LN2;
  let sum = Math.exp(logarithm);
  for (let heads = 1; heads <= fewer; heads++) {
    logarithm += Math.log((pairs - heads + 1) / heads);
    sum += Math.exp(logarithm);
  }
  return Math.min(1, 2 * sum);
}
