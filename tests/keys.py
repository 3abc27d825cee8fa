"""The keys of an installation with the default prefix, as most tests have it."""

from memberstream.stream.keyspace.keys import Keys

KEYS = Keys()
