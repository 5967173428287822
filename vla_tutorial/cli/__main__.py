"""`python -m vla_tutorial.cli` is `vla-tutorial`."""

from vla_tutorial.cli.app import main

main()
