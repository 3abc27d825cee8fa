"""The path of a change event, and what keeps members' rows true beside it. pipeline.py shows the whole path."""
