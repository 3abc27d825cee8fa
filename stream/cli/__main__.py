"""`python -m stream.cli`, how the demo starts its worker: independent of where the command is installed."""

from stream.cli.main import main

main()
