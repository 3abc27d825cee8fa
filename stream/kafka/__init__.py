"""Kafka outside of Faust: the clients, topics, reading a topic once, producing. Nothing here knows about members.

clients.py: the one place that makes clients · any_record.py: reading every legal record · outgoing.py, letters.py:
records that may be too large, and dead letters · topics.py, topic_id.py: topics seen from outside · topic_reader.py: a
topic from its beginning to its end · producer.py: sending events
"""
