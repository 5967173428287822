"""Several tokens of an answer in one pass: what proposes them, and what proves them."""
