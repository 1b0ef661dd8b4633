"""How pushes are written in the framed protocol. Must not import services, stores or web."""

from zope.interface import implementer

from push.ipush import IPushForm
from push.protocols.wire.frames import HEADER, HEADER_AND_ID, ID_BYTES
from push.protocols.wire.signals import MAGIC, VERSION, Signal, SubSignal

# Looking a member up in its class, and packing it, costs more than a number: once for each message.
_PUSH = int(Signal.PUSH)
_MN = int(SubSignal.MN)


@implementer(IPushForm)
class PlainForm:
    """PUSH to a client that does not acknowledge: the payload alone."""

    def encode_push(self, message_id: int, payload: bytes) -> bytes:
        """Encode one PUSH; the id is not sent."""
        return HEADER.pack(MAGIC, VERSION, _PUSH, len(payload), 0, 0) + payload


@implementer(IPushForm)
class AckForm:
    """PUSH to a client that acknowledges: the message id, then the payload."""

    def encode_push(self, message_id: int, payload: bytes) -> bytes:
        """Encode one PUSH/MN."""
        return HEADER_AND_ID.pack(MAGIC, VERSION, _PUSH, len(payload) + ID_BYTES, _MN, 0, message_id) + payload


# One of each, so that connections of a kind share what is encoded for them.
PLAIN_FORM = PlainForm()
ACK_FORM = AckForm()
