"""The command line: `vla-tutorial --help`."""

from vla_tutorial.cli.app import app, main

__all__ = ["app", "main"]
