"""Servers on this machine for `local`, the demo and the tests: a Kafka-compatible broker and Valkey, from wheels."""
