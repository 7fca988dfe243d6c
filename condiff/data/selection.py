"""Selection of volumes and of their slices, and the contrast that each acquisition counts as."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from condiff.data.volume import Volume
from condiff.errors import InputError


@dataclass(frozen=True)
class Selection:
    """Args:
    merge: acquisition -> the contrast it counts as; the rest keep their names.
    field_t: lowest and highest field strength, T.
    coils: fewest and most.
    slices: first and last slice to use, as shares of the volume from the skull's base (0) to the vertex (1).
    """

    merge: Mapping[str, str] | None = None
    field_t: Sequence[float] = (0.0, math.inf)
    coils: Sequence[int] = (0, 1_000)
    slices: Sequence[float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("field_t", "coils", "slices"):
            limits = getattr(self, name)
            if len(limits) != 2 or limits[0] > limits[1]:
                raise InputError(f"data.select.{name}={list(limits)}: give the lowest and the highest, [a,b]")
        if not 0 <= self.slices[0] < self.slices[1] <= 1:
            raise InputError(f"data.select.slices={list(self.slices)}: give shares of a volume between 0 and 1, [0.1,0.8]")

    def __call__(self, volumes: Iterable[Volume]) -> list[Volume]:
        merge = self.merge or {}
        return [replace(v, contrast=merge.get(v.acquisition, v.contrast)) for v in volumes if self._fits(v)]

    def slice_range(self, count: int) -> range:
        """The slices to use of a volume of ``count`` slices; at least one."""
        first = min(round(self.slices[0] * count), count - 1)
        return range(first, max(round(self.slices[1] * count), first + 1))

    def _fits(self, volume: Volume) -> bool:
        header = volume.header
        strength = header.field_t if header and header.field_t is not None else self.field_t[0]  # unknown is not refused
        return self.field_t[0] <= strength <= self.field_t[1] and self.coils[0] <= volume.coils <= self.coils[1]


def take_shard(volumes: Sequence[Volume], shard: str) -> Sequence[Volume]:
    """The volumes of the k-th shard of n, ``k/n``. Raises InputError for an invalid shard."""
    k, _, n = shard.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n)):
        raise InputError(f"data.shard={shard}: give k/n with k from 1 to n, say 3/16")
    return volumes[int(k) - 1 :: int(n)]
