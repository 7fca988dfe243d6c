"""Fingerprints of patients: they show whether a given patient was trained on, and hide the identifiers of those that were.

Each is scrypt of the identifier under a salt that is drawn for every run (Percival & Josefsson 2016, RFC 7914). To try one
identifier takes 16 MB and tens of milliseconds, so short ones can still be found by trying all of them, slowly.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from condiff.data.parallel import cores

COST = 2**14  # scrypt's N, with r = 8: 16 MB
BYTES = 16


@dataclass(frozen=True)
class Fingerprints:
    """Hashes of patient identifiers under one salt.

    Attributes:
        salt: hexadecimal; empty for the plain SHA-256 of versions before there was one.
        cost: scrypt's N.
    """

    salt: str
    cost: int
    hashes: frozenset[str]

    @classmethod
    def of(cls, patients: Iterable[str]) -> "Fingerprints":
        """Those of some patients, under a new salt."""
        salt, cost = secrets.token_hex(BYTES), COST
        return cls(salt, cost, frozenset(_hashed({*patients}, salt, cost).values()))

    @classmethod
    def unsalted(cls, hashes: Iterable[str]) -> "Fingerprints":
        """Those of a version that had no salt."""
        return cls("", 0, frozenset(map(str, hashes)))

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Fingerprints":
        """The inverse of `state`. Raises KeyError, TypeError or ValueError for anything else."""
        salt, cost, hashes = state["salt"], state["cost"], frozenset(state["hashes"])
        if cost not in (COST, 2**14) or len(bytes.fromhex(salt)) != BYTES or not all(isinstance(one, str) for one in hashes):
            raise ValueError("not fingerprints")
        return cls(salt, cost, hashes)

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {"salt": self.salt, "cost": self.cost, "hashes": sorted(self.hashes)}

    def known(self, patients: Iterable[str]) -> set[str]:
        """Those of some patients that are in it."""
        return {patient for patient, one in _hashed({*patients}, self.salt, self.cost).items() if one in self.hashes}

    def within(self, patients: Iterable[str]) -> bool:
        """Whether all that are in it are among some patients."""
        return len(self.known(patients)) == len(self.hashes)


def _hashed(patients: set[str], salt: str, cost: int) -> dict[str, str]:
    with ThreadPoolExecutor(len(cores())) as pool:  # scrypt holds no lock
        return dict(zip(patients, pool.map(lambda patient: _hash(patient, salt, cost), patients), strict=True))


@lru_cache(maxsize=100_000)
def _hash(patient: str, salt: str, cost: int) -> str:
    text = patient.encode(errors="surrogateescape")
    if not salt:
        return hashlib.sha256(text).hexdigest()[:16]
    return hashlib.scrypt(text, salt=bytes.fromhex(salt), n=cost, r=8, p=1, maxmem=1 << 26, dklen=16).hex()
