"""The models' log, and what it means for a worker."""
