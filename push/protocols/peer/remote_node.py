"""Another node of a cluster, as this one may use it while the link to it lasts.

Must not import services, stores or web.
"""

from push.model_cluster import Member
from push.protocols.peer.asking import Asking
from push.protocols.peer.link import Link
from push.protocols.peer.remote_chat import RemoteChat
from push.protocols.peer.remote_keeper import RemoteKeeper
from push.protocols.peer.remote_receipts import RemoteReceipts
from push.protocols.peer.remote_router import RemoteMessages, RemoteRouter
from push.protocols.peer.remote_subscribe import RemoteSubscribe


class RemoteNode:
    """A node that this one has joined, or is about to.

    Args:
        member: what it says of itself.
        own_name: of this node; sessions that it opens there are on its connector.
        receipts: builds what tells its receipts.

    Attributes:
        asking: the questions to it.
        link: to it; None while there is none.
        trouble: why there is none.
    """

    def __init__(self, member: Member, own_name: str, asking: Asking, receipts: RemoteReceipts) -> None:
        self.name = member.name
        self.roles = member.roles
        self.peer = member.peer
        self.minor = member.minor
        self.reached_by = reached_by(member)
        self.asking = asking
        self.link: Link | None = None
        self.trouble = "not joined yet"
        self.subscribe = RemoteSubscribe(own_name, asking, ends_with_link=False)
        self.cache = RemoteKeeper(asking)
        self.receipts = receipts
        self.router = RemoteRouter(asking)
        self.messages = RemoteMessages(asking)
        self.chat = RemoteChat(asking)

    @property
    def is_linked(self) -> bool:
        """Whether it can be asked now."""
        return self.link is not None and not self.link.is_lost

    def joined(self, link: Link) -> None:
        """There is a link."""
        self.link = link
        self.trouble = ""
        self.asking.attach(link)


def reached_by(member: Member) -> tuple[object, ...]:
    """What must be the same of a node for a link to it to be of use."""
    return (member.peer, member.roles, member.major, member.minor)
