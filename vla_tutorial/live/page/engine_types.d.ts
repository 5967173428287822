// Types of the engine: what it is made of and what it says.

import type { LogLine, SideChoice } from "./types";
import type { Grip } from "./grip.js";
import type { Simulator } from "./simulator.js";
import type { Step } from "./loop.js";
import type { layers } from "./layers.js";

export type Layers = typeof layers;

/** One episode on the page. */
export interface Side {
  letter: string;
  simulator: Simulator;
  choice: SideChoice;
  grip: Grip;
  /** The loop, while it runs. */
  steps: AsyncGenerator<Step, void, void> | null;
  lines: LogLine[];
  /** null while it has not ended. */
  success: boolean | null;
}

export type Emit = (event: { event: string; [key: string]: unknown }) => void;
