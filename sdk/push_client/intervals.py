"""How long a line may be silent before a network forgets it: learned by each client, for each network by its name.

What grows is the heartbeat's interval. Whoever holds a line open between client and server (a NAT, a firewall) drops
it after a silence that nobody announces, from under a minute to never. So: longer while heartbeats succeed, half
after one has found the line dead, and then not up to the length that failed until it has been good for long. Pure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from push.protocols.wire.liveness import MAX_INTERVAL_MS, MIN_INTERVAL_MS

_LEAST_S = MIN_INTERVAL_MS / 1000
_MOST_S = MAX_INTERVAL_MS / 1000
GROWTH = 1.5
# How near to a length that failed it grows again, and after how many successes there it forgets the failure.
_BELOW_FAILURE = 0.8
_FORGIVING_SUCCESSES = 50
# A silence that was shorter than this share of the interval (messages came) proves nothing about the interval.
_PROVING_SHARE = 0.9
# By how much two silences may differ that the same timer has ended.
_SAME_SHARE = 0.1
MAX_NETWORKS = 16
MAX_NAME_CHARS = 64


@dataclass(slots=True)
class _Learned:
    interval_s: float
    failed_s: float = math.inf
    successes: int = 0
    cut_s: float = 0.0


class Intervals:
    """What one client has learned.

    Args:
        first_s: where to begin on a network of which nothing is known.
        limit_s: the longest interval to grow to; `first_s` if that is longer.
    """

    def __init__(self, first_s: float, limit_s: float) -> None:
        self._first_s = first_s
        self._limit_s = max(first_s, limit_s)
        self._learned: dict[str, _Learned] = {"": _Learned(first_s)}
        self._network = ""

    @property
    def network(self) -> str:
        """The network that the client is on, "" where nobody has named it."""
        return self._network

    @property
    def interval_s(self) -> float:
        """The interval to use on it."""
        return self._learned[self._network].interval_s

    def use(self, network: str) -> None:
        """The client is on this network now; of the networks not seen for longest, those after 16 are forgotten."""
        self._network = network
        self._learned[network] = self._learned.pop(network, _Learned(self._first_s))
        while len(self._learned) > MAX_NETWORKS:
            del self._learned[next(iter(self._learned))]

    def succeeded(self, silent_s: float) -> None:
        """A heartbeat was answered after a silence of so long."""
        learned = self._learned[self._network]
        if silent_s < learned.interval_s * _PROVING_SHARE:
            return
        learned.successes += 1
        if learned.successes >= _FORGIVING_SUCCESSES:
            learned.failed_s = math.inf
        limit_s = min(self._limit_s, learned.failed_s * _BELOW_FAILURE)
        learned.interval_s = max(learned.interval_s, min(limit_s, learned.interval_s * GROWTH))

    def lost(self) -> None:
        """A heartbeat found the line dead."""
        learned = self._learned[self._network]
        learned.failed_s = learned.interval_s
        learned.successes = 0
        learned.interval_s = max(_LEAST_S, learned.interval_s / 2)

    def cut(self, silent_s: float) -> None:
        """The line was closed without a word after a silence of so long.

        A proxy does that with lines that are idle for too long, and always after the same time; a server that dies does
        not: so the second time after the same silence it is a lesson. A silence that was longer than heartbeats let it
        be is none: this side slept.
        """
        learned = self._learned[self._network]
        if silent_s > learned.interval_s * (1 + _SAME_SHARE):
            return
        before_s, learned.cut_s = learned.cut_s, silent_s
        if silent_s >= _LEAST_S and abs(silent_s - before_s) <= _SAME_SHARE * silent_s:
            learned.cut_s = 0.0
            learned.failed_s = min(learned.failed_s, silent_s, _MOST_S)
            learned.successes = 0
            learned.interval_s = max(_LEAST_S, min(learned.interval_s, silent_s) / 2)

    def known(self) -> dict[str, list[float]]:
        """What has been learned, as JSON has it: by network, the interval and, if any, the length that failed."""
        return {
            name: [one.interval_s] if one.failed_s == math.inf else [one.interval_s, one.failed_s]
            for name, one in self._learned.items()
            if (one.interval_s, one.failed_s) != (self._first_s, math.inf)
        }

    def restore(self, known: Mapping[str, list[float]]) -> None:
        """Go on from what was `known` in an earlier run, within the limits of this one."""
        for name, (interval_s, *failed) in known.items():
            held_s = min(self._limit_s, max(_LEAST_S, interval_s))
            self._learned[name] = _Learned(held_s, failed[0] if failed else math.inf)
        self.use(self._network)


def check_network(name: str) -> str:
    """A name of a network that can be kept.

    Raises:
        ValueError: it is no string, or too long.
    """
    if not isinstance(name, str) or len(name) > MAX_NAME_CHARS:
        raise ValueError(f"the name of a network is a string of at most {MAX_NAME_CHARS} characters")
    return name


def parse_known(value: object) -> dict[str, list[float]]:
    """Check what was `known`, as read back.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, dict):
        raise ValueError("intervals are not an object")
    for name, numbers in value.items():
        check_network(name)
        if not isinstance(numbers, list) or not 1 <= len(numbers) <= 2:
            raise ValueError("an interval is not a list of one or two")
        if not all(isinstance(number, int | float) and 0 < number <= _MOST_S for number in numbers):
            raise ValueError("an interval is not a number of seconds")
    return value
