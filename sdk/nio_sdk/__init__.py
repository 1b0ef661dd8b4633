"""The client SDK for programs without asyncio: selectors and the standard library, threads where they are wanted.

    with nio_sdk.PushClient("push://127.0.0.1:6789", uid="alice") as client:
        for message in client:
            print(message.text)

Guide: docs/nio_sdk.md. Imports only the standard library, push.protocols.wire and push_client.
"""

from nio_sdk.answer import Answer
from nio_sdk.chat import Chat
from nio_sdk.client import PushClient
from nio_sdk.settings import Surroundings
from nio_sdk.thread import ClientThread
from push_client.address import Address
from push_client.chat import ChatError, ChatMessage, ChatNotice
from push_client.errors import ClientError, Disconnected, Refused, TokenFileError
from push_client.message import Message
from push_client.pulse import Pulse
from push_client.status import Connecting, Ended, Lost, Missed, Open, Redirected, Rejected, Status, Unallocated, Waiting
from push_client.token_store import TokenCallbacks
from push_client.tuning import Tuning

__all__ = [
    "Address",
    "Answer",
    "Chat",
    "ChatError",
    "ChatMessage",
    "ChatNotice",
    "ClientError",
    "ClientThread",
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
