"""Writing to Redis, and waiting for it. Nothing else writes members and counts there."""
