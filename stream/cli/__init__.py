"""The commands, in folders like the command tree. What they do is in authoring/; how they print is in terminal/."""

from memberstream.stream.cli.main import main

__all__ = ["main"]
