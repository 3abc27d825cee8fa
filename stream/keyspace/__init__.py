"""The contract with readers of Redis: the bytes of each key, and the table of all keys. It imports nothing of ours."""
