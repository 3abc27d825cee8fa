"""The error that says why a step can't be taken."""

from __future__ import annotations


class PublishError(ValueError):
    """A step can't or shouldn't be done. The text says why, and what to do next."""
