// Types of the engine: what it is made of and what it says.

import type { layers } from "./layers.js";

export type Layers = typeof layers;

export type Emit = (event: { event: string; [key: string]: unknown }) => void;
