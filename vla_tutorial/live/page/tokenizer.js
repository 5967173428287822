/** Byte-level BPE as in GPT-2: text → ids, equal to those of the tokenizers library. */

/**
 * `data/policy/tokenizer.json`, as `live/tokenizer_export.py` describes it.
 * @typedef {{
 *   vocabulary: Record<string, number>, merges: [string, string][],
 *   special: Record<string, number>, prefixSpace: boolean, start: number[], empty: number,
 * }} TokenizerData
 */

/** GPT-2's words: contractions, letters, digits and others, each with one space in front. */
const WORDS = new RegExp(
  [
    "'(?:s|t|re|ve|m|ll|d)",
    " ?\\p{L}+",
    " ?\\p{N}+",
    // Not \s, which is another set of characters in JavaScript than in Rust.
    " ?[^\\p{White_Space}\\p{L}\\p{N}]+",
    "\\p{White_Space}+(?!\\P{White_Space})",
    "\\p{White_Space}+",
  ].join("|"),
  "gu",
);

/** GPT-2's letter for each byte: printable ones stand for themselves. */
const LETTERS = byteLetters();

function byteLetters() {
  const letters = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const isPlain = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    letters.push(String.fromCharCode(isPlain ? byte : next++));
  }
  return letters;
}

export class Tokenizer {
  /** @type {Map<string, number>} How early a pair is merged. */ #ranks;
  /** @type {Map<string, number[]>} Words that were met before. */ #known = new Map();

  /** @param {TokenizerData} data */
  constructor(data) {
    this.data = data;
    this.#ranks = new Map(data.merges.map((pair, i) => [pair.join(" "), i]));
  }

  /**
   * Text → ids, BOS in front.
   * @param {string} text
   * @returns {number[]}
   */
  ids(text) {
    const { special, start } = this.data;
    const ids = [...start];
    for (const part of splitBySpecial(text, Object.keys(special))) {
      if (Object.hasOwn(special, part)) ids.push(special[part]);
      else ids.push(...this.#idsOf(part));
    }
    return ids;
  }

  /** @param {string} part without special tokens */
  #idsOf(part) {
    const spaced = this.data.prefixSpace && !part.startsWith(" ") ? ` ${part}` : part;
    return (spaced.match(WORDS) ?? []).flatMap((word) => this.#merged(word));
  }

  /** @param {string} word */
  #merged(word) {
    const known = this.#known.get(word);
    if (known) return known;
    const bytes = new TextEncoder().encode(word);
    const tokens = Array.from(bytes, (byte) => LETTERS[byte]);
    for (let at = this.#firstPair(tokens); at >= 0; at = this.#firstPair(tokens)) {
      tokens.splice(at, 2, tokens[at] + tokens[at + 1]);
    }
    const ids = tokens.map((token) => this.data.vocabulary[token]);
    this.#known.set(word, ids);
    return ids;
  }

  /**
   * Where the pair stands that is merged next; −1 where there is none.
   * @param {string[]} tokens
   */
  #firstPair(tokens) {
    let best = Infinity;
    let found = -1;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const rank = this.#ranks.get(`${tokens[i]} ${tokens[i + 1]}`) ?? Infinity;
      if (rank < best) {
        best = rank;
        found = i;
      }
    }
    return found;
  }
}

/**
 * Special tokens and what stands between them, in order.
 * @param {string} text
 * @param {string[]} special
 */
function splitBySpecial(text, special) {
  const escaped = special.map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const parts = escaped.length ? text.split(new RegExp(`(${escaped.join("|")})`)) : [text];
  return parts.filter((part) => part !== "");
}
