/** A problem in one or two plain sentences: the value, what was expected, and what to do. */
export class LiveError extends Error {
  /** @param {string} message @param {{cause?: unknown}} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = "LiveError";
  }
}

/** One sentence for whatever was thrown. @param {unknown} error */
export function sentenceOf(error) {
  const text = error instanceof Error ? error.message : String(error);
  const cause = error instanceof Error ? error.cause : "";
  if (/out of memory|memory access|allocat/i.test(`${text} ${cause}`)) {
    return "The browser ran out of memory. Close other tabs and load this page again. What was measured is kept.";
  }
  return text;
}
