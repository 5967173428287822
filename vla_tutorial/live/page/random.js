// Random numbers of a seed. They are not numpy's: where Python's own draws matter, they are exported.

/** Uniform numbers in [0, 1), mulberry32. @param {number} seed @returns {() => number} */
export function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Normal numbers of mean 0 and deviation 1 (Box and Muller). @param {number} seed @returns {() => number} */
export function normal(seed) {
  const draw = uniform(seed);
  return () => {
    const radius = Math.sqrt(-2 * Math.log(1 - draw()));
    return radius * Math.cos(2 * Math.PI * draw());
  };
}
