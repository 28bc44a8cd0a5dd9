"""Decay: what nobody recalls is shown a little later. Ranking alone; nothing is deleted for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from memd.limits import DECAY_HALF_LIFE_US


@dataclass(frozen=True, slots=True)
class Decay:
    """At most ``weight`` (0..1) of a memory's score is taken, half of it ``half_life_us`` after it was last recalled or
    written. A weight of 0 takes nothing."""

    weight: float = 0.0
    half_life_us: int = DECAY_HALF_LIFE_US

    def taken(self, score: float, idle_us: int) -> float:
        return self.weight * score * (1.0 - math.exp2(-max(0, idle_us) / self.half_life_us))
