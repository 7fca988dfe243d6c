"""Seeds derived from the names of random streams, equal on every machine."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Returns a 63-bit seed for the random stream named by ``parts``, such as ("augment", seed, step)."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
