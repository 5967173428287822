// Large presets before fine switches: each is one wrong setting at one boundary.

/** @typedef {{id: string, conditions: string[], label: string, says: string, boundary: string}} Preset */

/** @type {Preset[]} */
export const PRESETS = [
  {
    id: "published",
    conditions: [],
    label: "Published settings",
    says: "as the policy was trained",
    boundary: "",
  },
  {
    id: "upside-down",
    conditions: ["no_flip"],
    label: "Picture upside down",
    says: "the camera’s picture is not turned",
    boundary: "pixels",
  },
  {
    id: "other-prompt",
    conditions: ["wrong_prompt"],
    label: "Another prompt",
    says: "the same sentence with other words around it",
    boundary: "prompt",
  },
  {
    id: "other-units",
    conditions: ["wrong_unnorm_key"],
    label: "Another robot’s units",
    says: "tokens converted with Bridge’s statistics",
    boundary: "motion",
  },
];

/** The preset that conditions are, or undefined. @param {string[]} conditions */
export const presetOf = (conditions) =>
  PRESETS.find((preset) => [...preset.conditions].sort().join() === [...conditions].sort().join());

/** Headings of the boundaries, in their order. @type {Record<string, string>} */
export const BOUNDARIES = {
  pixels: "observation → pixels",
  prompt: "instruction → prompt",
  motion: "tokens → motion",
  simulator: "simulator",
  shift: "distribution shift",
  language: "language",
  chance: "chance",
};

/** Sliders: what they change, in which steps, and what `mini` saw in training (null: one value). */
export const SLIDERS = /** @type {const} */ ([
  {
    name: "camera",
    label: "Camera angle",
    unit: "°",
    low: -45,
    high: 45,
    step: 1,
    usual: 0,
    trained: [0, 0],
    says: "trained at one place",
  },
  {
    name: "light",
    label: "Light",
    unit: "×",
    low: 0,
    high: 1.6,
    step: 0.02,
    usual: 1,
    trained: [0.88, 1.12],
    says: "trained from 0.88 to 1.12",
  },
  {
    name: "noise",
    label: "Camera noise",
    unit: " levels",
    low: 0,
    high: 40,
    step: 1,
    usual: 0,
    trained: [0, 3],
    says: "trained with 3 grey levels",
  },
  {
    name: "friction",
    label: "Friction",
    unit: "×",
    low: 0.1,
    high: 3,
    step: 0.05,
    usual: 1,
    trained: [1, 1],
    says: "trained at one value",
  },
  {
    name: "mass",
    label: "Weight of the object",
    unit: "×",
    low: 0.1,
    high: 10,
    step: 0.1,
    usual: 1,
    trained: [1, 1],
    says: "trained at one value",
  },
]);
