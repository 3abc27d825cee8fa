"""How who asks and who answers prove to each other that they know the secret, which itself is never sent.

Laws:
- A question is sealed with its path and time, so it is worth nothing for another member, nor a minute later.
- An answer is sealed with its question's seal, its status and its bytes. So it is the worker's, and the one to this
  question. Whoever changed an address in Redis learns nothing but who was asked for.
- Nothing is encrypted: who can read the network can read the answer (docs/console.md).
"""

from __future__ import annotations

import hmac
from hashlib import sha256

#: The header of both.
SEAL = "X-Memberstream-Seal"
#: How far the clocks of who asks and who answers may be apart.
APART_MS = 60_000


def seal_question(secret: str, path: str, at_ms: int) -> str:
    """Return `<at_ms>.<hex>`."""
    return f"{at_ms}.{_code(secret, 'question', path, str(at_ms))}"


def is_sealed(secret: str, path: str, seal: str) -> bool:
    """Return whether a question's seal is its own."""
    at_ms, _, _ = seal.partition(".")
    return (
        at_ms.isascii()
        and at_ms.isdecimal()
        and len(at_ms) < 16
        and _equal(seal, seal_question(secret, path, int(at_ms)))
    )


def asked_at_ms(seal: str) -> int:
    """Return when a sealed question was asked."""
    return int(seal.partition(".")[0])


def seal_answer(secret: str, question: str, status: int, body: bytes) -> str:
    """Return the seal of the answer to the question with a seal."""
    return _code(secret, "answer", question, str(status), sha256(body).hexdigest())


def is_answer(secret: str, question: str, status: int, body: bytes, seal: str) -> bool:
    """Return whether an answer is a worker's to this question."""
    return _equal(seal, seal_answer(secret, question, status, body))


def _code(secret: str, *parts: str) -> str:
    return hmac.new(secret.encode(), "\n".join(parts).encode(), sha256).hexdigest()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
