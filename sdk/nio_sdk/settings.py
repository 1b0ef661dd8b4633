"""What a client takes from its surroundings, and what its arguments may be. Frozen values."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

Auth = str | Callable[[], str]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where time and chance come from; given by tests, and by nobody else."""

    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random
