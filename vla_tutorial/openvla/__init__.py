"""OpenVLA itself: configuration, model, checkpoints, and the engine that runs it fast."""
