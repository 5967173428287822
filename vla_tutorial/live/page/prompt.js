/** The boundary instruction → tokens (vla_tutorial/prompt.py). */
import { LiveError } from "./errors.js";
import { repr } from "./numbers.js";

/** @typedef {import("./conditions.js").Wiring} Wiring */
/** @typedef {import("./tokenizer.js").Tokenizer} Tokenizer */
/** @typedef {{text: string, emptyToken: boolean}} Prompt */

/** What each setting does to the instruction's letters. */
const SPELLINGS = {
  lower: (/** @type {string} */ text) => text.toLowerCase(),
  as_given: (/** @type {string} */ text) => text,
  upper: (/** @type {string} */ text) => text.toUpperCase(),
};

/**
 * Put an instruction into the wiring's template.
 * @param {Pick<Wiring, "prompt_template" | "letter_case" | "empty_token">} wiring
 * @param {string} instruction
 * @returns {Prompt}
 */
export function build(wiring, instruction) {
  const spelt = SPELLINGS[wiring.letter_case](instruction);
  return { text: fill(wiring.prompt_template, spelt), emptyToken: wiring.empty_token };
}

/**
 * Python's `template.format(instruction=…)`, of which only {instruction}, {{ and }} are used.
 * @param {string} template
 * @param {string} instruction
 */
function fill(template, instruction) {
  const parts = /\{\{|\}\}|\{instruction\}/g;
  const isFilled = template.match(parts)?.includes("{instruction}");
  if (!isFilled || /[{}]/.test(template.replace(parts, ""))) {
    const expected = "Expected {instruction} in it, and other braces doubled.";
    throw new LiveError(`The prompt template ${repr(template)} cannot be filled. ${expected}`);
  }
  return template.replace(parts, (found) => (found === "{instruction}" ? instruction : found[0]));
}

/**
 * A prompt's ids, BOS in front. The empty token is put at the end where it is not there already.
 * @param {Prompt} prompt
 * @param {Tokenizer} tokenizer
 * @returns {number[]}
 */
export function tokenIds({ text, emptyToken }, tokenizer) {
  const ids = tokenizer.ids(text);
  const { empty } = tokenizer.data;
  // The library compares with 29871, which a smaller vocabulary does not have.
  if (emptyToken) ids.push(empty);
  return ids;
}
