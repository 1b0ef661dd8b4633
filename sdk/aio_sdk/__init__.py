"""The asyncio client SDK: a driver of the wire core with nothing but the standard library.

    async with aio_sdk.PushClient("push://127.0.0.1:6789", uid="alice") as client:
        async for message in client:
            print(message.text)

Guide: docs/aio_sdk.md. Imports only the standard library, push.protocols.wire and push_client.
"""

from aio_sdk.chat import Chat
from aio_sdk.client import PushClient
from aio_sdk.settings import Surroundings, Tuning
from push_client.address import Address
from push_client.chat import ChatError, ChatMessage, ChatNotice
from push_client.errors import ClientError, Disconnected, Refused, TokenFileError
from push_client.message import Message
from push_client.pulse import Pulse
from push_client.status import Connecting, Ended, Lost, Missed, Open, Redirected, Rejected, Status, Unallocated, Waiting
from push_client.token_store import TokenCallbacks

__all__ = [
    "Address",
    "Chat",
    "ChatError",
    "ChatMessage",
    "ChatNotice",
    "ClientError",
    "Connecting",
    "Disconnected",
    "Ended",
    "Lost",
    "Message",
    "Missed",
    "Open",
    "Pulse",
    "PushClient",
    "Redirected",
    "Refused",
    "Rejected",
    "Status",
    "Surroundings",
    "TokenCallbacks",
    "TokenFileError",
    "Tuning",
    "Unallocated",
    "Waiting",
]
