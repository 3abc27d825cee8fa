"""Uploaded lists inside a worker: rows of the lists' topic, judged, and on their way to Redis."""
