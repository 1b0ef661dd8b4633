"""What one HTTP API allows. Imports nothing but values."""

from dataclasses import dataclass

from push.model_access import ApiKey

# A frame's body holds at most 65 536 bytes; with the 8 bytes of a message id in front, this is left.
MAX_PAYLOAD_BYTES = 65_536 - 8
_LEAST_PER_ADDRESS = 16


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The settings of the HTTP API.

    Attributes:
        version: of the software, as /v1/stats says it.
        started_s: when the process started, on the clock given to build_site.
        keys: who may call; empty lets everybody call who can connect, which is fit for loopback only.
        max_body_bytes: the largest request body.
        max_batch: the most entries in one batchSend.
        max_targets: the most tokens or uids in one target.
        max_delay_s: how far ahead deliver_at may be, in seconds.
        max_payload_bytes: the largest message, as clients get it.
        requests_per_s: mean rate allowed to each key, or to each peer address where there are no keys.
        allocate_per_s: how often one address may ask where to connect.
        burst: how many requests may come at once after a pause.
        request_timeout_s: how long a request may take to arrive, and a connection may stay idle.
        max_connections: the most HTTP connections at a time.
        max_connections_per_address: the most of them from one peer address; None for a quarter of all, but 16 at least.
    """

    version: str
    started_s: float
    keys: tuple[ApiKey, ...] = ()
    max_body_bytes: int = 8 * 1024 * 1024
    max_batch: int = 10_000
    max_targets: int = 100_000
    max_delay_s: int = 30 * 24 * 3600
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    requests_per_s: float = 10_000.0
    allocate_per_s: float = 100.0
    burst: int = 10_000
    request_timeout_s: float = 30.0
    max_connections: int = 1_000
    max_connections_per_address: int | None = None

    @property
    def connections_per_address(self) -> int:
        """The most HTTP connections from one peer address at a time."""
        if self.max_connections_per_address is not None:
            return self.max_connections_per_address
        return max(_LEAST_PER_ADDRESS, self.max_connections // 4)
