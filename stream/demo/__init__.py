"""The demo: real purchases of real customers, model files fitted on them, and an oracle that recomputes them."""
