"""Bytewax without recovery: the flow of bytewax_flow.py, its state in memory alone.

Guarantees: none after a crash; it starts again from the beginning of the topic.
Form: docs "Kafka" and "Performance" (docs.bytewax.io).
"""

from bench.peers.bytewax_flow import main

if __name__ == "__main__":
    main(recovery=False)
