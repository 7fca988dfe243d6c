"""The record of patients in a checkpoint: fingerprints, which show whether a given patient was trained on without revealing
the identifiers of the others.

Each is scrypt of the identifier under a salt that is drawn for every run (Percival & Josefsson 2016, RFC 7914). Trying one
identifier takes 16 MB and tens of milliseconds, so short identifiers can still be found, slowly, by trying all of them.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from condiff.data.workers import available_cpus

STAGES = 8  # models that a model learned from: an autoencoder, a teacher
COST = 2**14  # scrypt's N, with r = 8: 16 MB
BYTES = 16


@dataclass(frozen=True)
class Fingerprints:
    """Hashes of patient identifiers under one salt: scrypt of their SHA-256.

    Attributes:
        salt: hexadecimal; empty for the plain SHA-256 of versions before there was one.
        cost: scrypt's N.
    """

    salt: str
    cost: int
    hashes: frozenset[str]

    @classmethod
    def of(cls, patients: Iterable[str]) -> "Fingerprints":
        """Fingerprints of some patients, under a new salt."""
        return cls.unsalted(map(_digest, patients)).salted()

    @classmethod
    def unsalted(cls, hashes: Iterable[str]) -> "Fingerprints":
        """Fingerprints of a version that had no salt."""
        return cls("", 0, frozenset(map(str, hashes)))

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Fingerprints":
        """The inverse of `state`. Raises KeyError, TypeError or ValueError for anything else."""
        salt, cost, hashes = state["salt"], state["cost"], frozenset(state["hashes"])
        if cost not in (COST, 2**14) or len(bytes.fromhex(salt)) != BYTES or not all(isinstance(value, str) for value in hashes):
            raise ValueError("not fingerprints")
        return cls(salt, cost, hashes)

    def salted(self) -> "Fingerprints":
        """The same patients under a new salt if there was none."""
        if self.salt:
            return self
        salt, cost = secrets.token_hex(BYTES), COST
        return Fingerprints(salt, cost, frozenset(_scrypt(self.hashes, salt, cost).values()))

    def state(self) -> dict[str, Any]:
        """As plain values, salted."""
        salted = self.salted()
        return {"salt": salted.salt, "cost": salted.cost, "hashes": sorted(salted.hashes)}

    def known(self, patients: Iterable[str]) -> set[str]:
        """The patients, among those given, whose fingerprints are here."""
        digests = {patient: _digest(patient) for patient in patients}
        hashes = _scrypt({*digests.values()}, self.salt, self.cost) if self.salt else {each: each for each in digests.values()}
        return {patient for patient, digest in digests.items() if hashes[digest] in self.hashes}

    def within(self, patients: Iterable[str]) -> bool:
        """Whether all fingerprints here belong to the given patients."""
        return len(self.known(patients)) == len(self.hashes)


@dataclass(frozen=True)
class PatientRecord:
    """The patients that a model has seen, as its checkpoint stores them.

    Attributes:
        train: trained on.
        validation: those whose loss chose ``best.ckpt``; None where a version did not record them.
        elsewhere: those that it learned from by way of other models, such as its autoencoder or its teacher.
    """

    train: Fingerprints
    validation: Fingerprints | None = None
    elsewhere: Sequence[Fingerprints] = ()

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "PatientRecord":
        """The inverse of `state`, of any version. Raises KeyError, TypeError or ValueError for anything else."""
        train, validation, elsewhere = state["patients"], state.get("validation"), state.get("others") or []
        validation = None if validation is None else Fingerprints.of_state(validation)
        if isinstance(train, list):  # by versions that had no salt
            return cls(Fingerprints.unsalted(train), validation, [Fingerprints.unsalted(elsewhere)] if elsewhere else [])
        if len(elsewhere) > STAGES:
            raise ValueError("more stages than a model has")
        return cls(Fingerprints.of_state(train), validation, [Fingerprints.of_state(patients) for patients in elsewhere])

    def state(self) -> dict[str, Any]:
        """As plain values, salted."""
        validation = None if self.validation is None else self.validation.state()
        others = [patients.state() for patients in self.elsewhere]
        return {"patients": self.train.state(), "validation": validation, "others": others}


def _digest(patient: str) -> str:
    return hashlib.sha256(patient.encode(errors="surrogateescape")).hexdigest()[:16]


def _scrypt(digests: Collection[str], salt: str, cost: int) -> dict[str, str]:
    with ThreadPoolExecutor(len(available_cpus())) as pool:  # scrypt lets other threads run
        return dict(zip(digests, pool.map(lambda digest: _scrypt_one(digest, salt, cost), digests), strict=True))


@lru_cache(maxsize=100_000)
def _scrypt_one(digest: str, salt: str, cost: int) -> str:
    return hashlib.scrypt(digest.encode(), salt=bytes.fromhex(salt), n=cost, r=8, p=1, maxmem=1 << 26, dklen=16).hex()
