"""Why an attempt at a session ended, and what is to be done about it. A frozen value."""

from dataclasses import dataclass

from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.messages import RETRY_BACKOFF
from push_client.errors import ClientError
from push_client.status import Lost, Rejected


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an attempt ended.

    Attributes:
        status: what to tell the application; None for a mere redirect.
        retry: "no", "now" or "backoff".
        retry_after_s: the least time to wait, in seconds.
        nodes: where to go instead, if not empty.
        error: with "no", what to raise.
        is_ours: this side broke it off to begin anew; nobody has failed.
    """

    status: Lost | Rejected | None
    retry: str = RETRY_BACKOFF
    retry_after_s: float = 0.0
    nodes: tuple[NodeAddress, ...] = ()
    error: ClientError | None = None
    is_ours: bool = False
