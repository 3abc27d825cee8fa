"""`python -m memberstream`: the command, wherever its script is installed."""

from memberstream.stream.cli.main import main

main()
