"""The demo: real purchases of real customers, two model files fitted on them, and an oracle that recomputes both."""
