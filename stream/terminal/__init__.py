"""How commands and logs reach a terminal, and progress a notebook's cell."""
