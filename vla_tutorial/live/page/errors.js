/** A problem in one or two plain sentences: the value, what was expected, and what to do. */
export class LiveError extends Error {
  /** @param {string} message @param {{cause?: unknown}} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = "LiveError";
  }
}
