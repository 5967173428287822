"""The command line: `vla-tutorial --help`."""

from vla_tutorial.cli.app import main

__all__ = ["main"]
