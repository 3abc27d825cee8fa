"""Fitting the demo's models on CDNOW; run from the repo's root, never needed by the worker (fitting/README.md)."""
