"""Tasks of the event loop: who keeps them running, whose turn it is, and for how long."""
