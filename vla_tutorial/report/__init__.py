"""What sweeps measured: tables for the terminal, a page, JSON and CSV, and comparisons by pairs."""
