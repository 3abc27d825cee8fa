"""The `memberstream` command."""

from stream.cli.main import main

__all__ = ["main"]
