"""A worker as a process: health, metrics, HTTP port, watchdog. Nothing here computes or writes."""
