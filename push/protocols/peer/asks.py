"""One question to another node and its answer: a wish of any kind, numbered. Imports no Twisted."""

import msgspec

from push.protocols.peer.envelopes import Chat, Number, PullingWish, TokenWish
from push.protocols.peer.errors import Trouble
from push.protocols.peer.wishes_cache import CacheWish
from push.protocols.peer.wishes_groups import GroupWish
from push.protocols.peer.wishes_receipts import Events
from push.protocols.peer.wishes_router import RouterWish

Wish = TokenWish | PullingWish | CacheWish | RouterWish | Events | Chat | GroupWish


class Ask(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One wish; its answer has the same number."""

    number: Number
    wish: Wish


class Unread(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An Ask of whose wish nothing is known."""

    number: Number
    wish: msgspec.Raw


class Told(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The answer to an Ask: a value of the wish's own type, or what went wrong."""

    number: Number
    trouble: Trouble | None = None
    value: msgspec.Raw = msgspec.Raw(b"\xc0")  # nil
