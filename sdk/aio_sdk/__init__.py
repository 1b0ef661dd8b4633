"""The asyncio client SDK: a driver of the wire core with nothing but the standard library.

    async with aio_sdk.PushClient("push://127.0.0.1:6789", uid="alice") as client:
        async for message in client:
            print(message.text)

Guide: docs/aio_sdk.md. Imports only the standard library and push.protocols.wire.
"""

from aio_sdk.address import Address
from aio_sdk.client import PushClient
from aio_sdk.errors import ClientError, Disconnected, Refused, TokenFileError
from aio_sdk.message import Message
from aio_sdk.settings import Surroundings, Tuning
from aio_sdk.status import Connecting, Ended, Lost, Open, Redirected, Rejected, Status, Waiting

__all__ = [
    "Address",
    "ClientError",
    "Connecting",
    "Disconnected",
    "Ended",
    "Lost",
    "Message",
    "Open",
    "PushClient",
    "Redirected",
    "Refused",
    "Rejected",
    "Status",
    "Surroundings",
    "TokenFileError",
    "Tuning",
    "Waiting",
]
