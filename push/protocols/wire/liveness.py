"""How long a silent peer is believed alive. Pure arithmetic on seconds and milliseconds.

Source: docs/protocol.md, section "PING".
"""

MIN_INTERVAL_MS = 10_000
MAX_INTERVAL_MS = 1_800_000
GRACE_S = 60.0
# A client that promises nothing (the older SDKs) is held to five minutes.
DEFAULT_INTERVAL_MS = 300_000


def held_interval_ms(promised_ms: int | None, default_ms: int = DEFAULT_INTERVAL_MS) -> int:
    """The heartbeat interval that the server will hold a client to.

    Args:
        promised_ms: what the client said, any integer; None where it said nothing.
        default_ms: for a client that said nothing.

    Returns:
        Milliseconds, between 10 s and 30 min.
    """
    wanted_ms = default_ms if promised_ms is None else promised_ms
    return min(MAX_INTERVAL_MS, max(MIN_INTERVAL_MS, wanted_ms))


def idle_deadline_s(heard_s: float, interval_ms: int, grace_s: float = GRACE_S) -> float:
    """When a peer last heard at `heard_s` is to be given up.

    Args:
        heard_s: when the last byte came, on any clock in seconds.
        interval_ms: the interval in force.
        grace_s: how long after a missed heartbeat.

    Returns:
        Seconds on the same clock.
    """
    return heard_s + interval_ms / 1000 + grace_s
