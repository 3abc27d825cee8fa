"""One member's state, asked of the worker that owns its partition: the answer, the question, and what seals both."""
