"""Seeds that follow from what they are for: equal parts give equal seeds, on every machine."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed for a random stream named by ``parts``, say ("augment", seed, step)."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1
