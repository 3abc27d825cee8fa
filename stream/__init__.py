"""The imperative shell of memberstream: Kafka, Faust, state, Redis, metrics, command line."""
