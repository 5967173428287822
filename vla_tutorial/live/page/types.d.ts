// Types that several modules of the page share.

/** One line of `steps.jsonl` (vla_tutorial/log.py). */
export interface LogLine {
  step: number;
  img_mean: number;
  img_quarters: number[];
  img_channels?: number[];
  img_sharpness?: number;
  action: number[];
  reward: number;
  tokens: number[];
  eef_pos: number[];
  gripper_qpos: number[];
  /** Whether the policy was still thinking. */
  waiting?: boolean;
}

export interface Statistics {
  q01: number[];
  q99: number[];
  mask: boolean[];
  /** The smallest and the largest action of the training data, where they are known. */
  extremes?: number[][] | null;
}

/** diagnosis.json, written by vla_tutorial/live/diagnosis_data.py; references by suite and policy. */
export interface DiagnosisFile extends Omit<DiagnosisData, "reference" | "stepLimit"> {
  references: Record<string, Record<string, DiagnosisData["reference"]>>;
}

/** What the rules read to judge a policy's episode of a suite. */
export interface DiagnosisData {
  rulesVersion: number;
  constants: {
    MISFIT: number;
    BRIGHTER: number;
    SHARPER: number;
    CHROMA: number;
    FINGERS_MM: number;
    FIRST_OFF: number;
    EARLIEST_CLOSE: number;
    UNDECIDED: number;
    TURNS: Record<string, number[]>;
    EXACT: number;
    NEAR_BINS: number;
    GRIPPER_BINS: number[];
    CENTRE_BIN: number;
    MOVED_MM: number;
    STILL: number;
    EARLY: number;
    REACH_M: number;
    LIFT_M: number;
    HELD_MM: number[];
    REST_MM: number;
  };
  reference: {
    key: string;
    policy: string;
    quarters: number[][];
    brightness: number[];
    redMinusBlue: number[];
    chroma: number[];
    sharpness: number[];
    fingers: number[];
    firstBins: number[][][] | null;
  };
  statistics: Record<string, Statistics>;
  stepLimit: number;
}

/** What the rules look at (vla_tutorial/diagnose/signatures.py has the units). */
export interface Signatures {
  steps: number;
  success: boolean;
  jaggedness: number;
  response: number;
  travel: number;
  still: number;
  centred: number;
  saturated: number;
  firstOff: number | null;
  picture: {
    brightness: number;
    turned: string;
    misfit: number;
    redMinusBlue: number | null;
    chroma: number | null;
    sharpness: number | null;
    repeats: boolean;
  };
  mapping: { key: string | null; scale: number; beyond: number; gripper: string | null };
  gripper: {
    firstClose: number | null;
    closes: number;
    chatter: number;
    undecided: number;
    earlyUndecided: number;
    fingers: number;
  };
  progress: {
    reached: number | null;
    grasped: number | null;
    lifted: number | null;
    released: number | null;
  };
}

/** What one side of the page runs. */
export interface SideChoice {
  conditions: string[];
  /** The reader's own sentence; null takes the task's. */
  sentence: string | null;
  policy: string;
}

/** Sliders; null leaves what task and conditions say. Units as in vla_tutorial/scene.py. */
export interface Tweaks {
  camera: number | null;
  light: number | null;
  noise: number | null;
  friction: number | null;
  /** Factor on the mass of the objects that the task moves. */
  mass: number | null;
}

/** Everything that decides what the page shows; a link holds it whole. */
export interface Experiment {
  suite: string;
  task: number;
  init: number;
  /** Seed of a random layout in the saved state's place. */
  layout: number | null;
  /** One side, or two beside each other from the same start. */
  sides: SideChoice[];
  tweaks: Tweaks;
  /** Of camera noise, disturbances and random sentences. */
  seed: number;
}

/** What a link may name. */
export interface Known {
  version: string;
  suites: KnownSuite[];
  policies: string[];
}

export interface KnownSuite {
  suite: string;
  tasks: number[];
  inits: number;
  /** Seeds of random layouts. */
  layouts: number[];
  conditions: string[];
}

/** A sweep as the reader asked for it; kept in IndexedDB. */
export interface SweepPlan {
  id: string;
  /** ISO time. */
  started: string;
  suite: string;
  tasks: number[];
  /** Numbers of saved states, or seeds of layouts. */
  inits: number[];
  starts: "saved" | "layouts";
  /** "published", or names joined with "+". */
  conditions: string[];
  /** What a shard's sweep.json says beside this: policy, versions, serving. */
  about: ShardAbout;
}

export interface ShardAbout {
  policy: Record<string, unknown>;
  versions: Record<string, string>;
  serving: Record<string, unknown>;
  machine: Record<string, unknown>;
}

/** One line of `episodes.jsonl` (vla_tutorial/episodes.py). */
export interface EpisodeRow {
  suite: string;
  task: number;
  init: number;
  condition: string;
  success: boolean | null;
  outcome: "success" | "failure" | "error";
  steps: number | null;
  first_close: number | null;
  closes: number | null;
  seconds: number | null;
  attempt: number | null;
  folder: string | null;
  error: string | null;
  travel?: number;
}

export interface EpisodeKey {
  condition: string;
  task: number;
  init: number;
}

/** A row of the table that grows. */
export interface TableRow {
  condition: string;
  planned: number;
  done: number;
  errors: number;
  successes: number;
  interval: { low: number; high: number } | null;
  /** Against the first condition, on the starts that both have. */
  paired: { pairs: number; onlyFirst: number; onlyThis: number; pValue: number } | null;
}

export interface SweepStore {
  sweeps(): Promise<SweepPlan[]>;
  rows(id: string): Promise<EpisodeRow[]>;
  logs(id: string): Promise<Map<string, string>>;
  putSweep(plan: SweepPlan): Promise<void>;
  /** The row and its log, both or neither. */
  putRow(id: string, row: EpisodeRow, log: string): Promise<void>;
  remove(id: string): Promise<void>;
}

/**
 * A picture to show: RGB bytes, row by row. To be upright it must be rotated by 180° where it is
 * `turned` (LIBERO's raw picture), or have its rows reversed where it is `flipped`.
 */
export interface Shown {
  rgb: Uint8Array;
  width: number;
  height: number;
  turned?: boolean;
  flipped?: boolean;
}

/** Milliseconds of a step. */
export interface StepTimes {
  physics: number;
  picture: number;
  policy: number;
}

/** A condition as the manifest lists it. */
export interface ConditionEntry {
  name: string;
  boundary: string;
  teaches: string;
  changes: Record<string, unknown>;
  appliesAt: "now" | "reset";
  supported: boolean;
  /** Why the page cannot do it, or in what it differs from Python; else empty. */
  note: string;
}

/** The reader's own camera, as MuJoCo's free one: degrees and metres. */
export interface OrbitView {
  azimuth: number;
  elevation: number;
  distance: number;
  lookat: number[];
}

declare global {
  /** What this browser cannot do, in a sentence, or "" (boot.js). */
  var vlaProblem: string;
}
