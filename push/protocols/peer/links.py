"""The links of one node to those that it needs: made, and made again, for as long as they are needed.

Must not import services, stores or web.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from push.errors import PushError
from push.ihealth import IMeasured
from push.model_cluster import Member
from push.model_health import Sample
from push.protocols.peer.asking import Asking
from push.protocols.peer.connector_door import Door
from push.protocols.peer.envelopes import MAJOR
from push.protocols.peer.joining import join
from push.protocols.peer.link import Link
from push.protocols.peer.remote_node import RemoteNode, reached_by
from push.protocols.peer.remote_receipts import RemoteReceipts
from push.protocols.wire.backoff import Backoff
from push.unattended import run

# A node that has been restarted is back within a second; one that cannot be reached is tried as often as this.
FIRST_RETRY_S = 0.2
MAX_RETRY_S = 5.0


@dataclass(slots=True, eq=False)
class _Wanted:
    """One node that is to be linked."""

    node: RemoteNode
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=FIRST_RETRY_S, limit_s=MAX_RETRY_S))
    due: IDelayedCall | None = None
    is_joining: bool = False


@implementer(IMeasured)
class Links(Service):
    """The links that this node makes.

    Args:
        name: of this node.
        roles: of this node.
        secret: of the cluster.
        endpoint: how to reach "host:port".
        door: builds what can be called on this node over one link; given the questions that go over it, and the
            minor version of the node there.
        clock: for pauses and limits.
        fraction: random numbers in [0, 1).
        joined: called with a node when there is a link to it.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        *,
        roles: Sequence[str],
        secret: str,
        endpoint: Callable[[str], IStreamClientEndpoint],
        door: Callable[[Asking, int], Door],
        clock: IReactorTime,
        fraction: Callable[[], float],
        joined: Callable[[RemoteNode], None] = lambda node: None,
    ) -> None:
        self._name = name
        self._roles = tuple(roles)
        self._secret = secret
        self._endpoint = endpoint
        self._door = door
        self._clock = clock
        self._fraction = fraction
        self._joined = joined
        self._wanted: dict[str, _Wanted] = {}
        # Of nodes that are gone.
        self._untold = 0

    def want(self, members: Iterable[Member]) -> None:
        """Be linked to these, and to no others."""
        needed = {each.name: each for each in members if each.peer and each.name != self._name}
        for name, wanted in list(self._wanted.items()):
            member = needed.get(name)
            if member is None or reached_by(member) != wanted.node.reached_by:
                self._drop(name)
        for name, member in needed.items():
            if name not in self._wanted:
                asking = Asking()
                receipts = RemoteReceipts(asking, clock=self._clock)
                wanted = self._wanted[name] = _Wanted(RemoteNode(member, self._name, asking, receipts))
                if member.major != MAJOR:
                    wanted.node.trouble = (
                        f"it speaks version {member.major}.{member.minor} between nodes, this one {MAJOR}: "
                        "run the same release on both"
                    )
                    self._log.error("{name} is not joined: {why}", name=name, why=wanted.node.trouble)
                elif self.running:
                    self._begin(wanted)

    def nodes(self, role: str) -> list[RemoteNode]:
        """Those with a role that are linked now."""
        return [each.node for each in self._wanted.values() if role in each.node.roles and each.node.is_linked]

    def find(self, name: str) -> RemoteNode | None:
        """One of them, linked or not."""
        wanted = self._wanted.get(name)
        return None if wanted is None else wanted.node

    def troubles(self, role: str) -> str:
        """Why nodes with a role are not linked, for people."""
        nodes = [each.node for each in self._wanted.values() if role in each.node.roles]
        if not nodes:
            return f"no node with the role {role} is known yet"
        return "; ".join(f"{node.name}: {node.trouble}" for node in nodes if not node.is_linked)[:500]

    def samples(self) -> Iterable[Sample]:
        """How the links do."""
        untold = self._untold + sum(each.node.receipts.forgotten for each in self._wanted.values())
        yield Sample("push_receipts_untold_total", "counter", "Events that the receipts were not told.", untold)
        for wanted in self._wanted.values():
            node = wanted.node
            labels = (("node", node.name),)
            yield Sample(
                "push_link_up", "gauge", "1 while this node is linked to another.", float(node.is_linked), labels
            )
            if node.link is not None and node.is_linked:
                yield from node.link.samples("out")

    def startService(self) -> None:
        """Begin to join."""
        super().startService()
        for wanted in self._wanted.values():
            self._begin(wanted)

    def stopService(self) -> None:
        """Close all."""
        super().stopService()
        for name in list(self._wanted):
            self._drop(name)

    def _drop(self, name: str) -> None:
        wanted = self._wanted.pop(name)
        self._untold += wanted.node.receipts.forgotten
        wanted.node.trouble = "it is gone"
        if wanted.due is not None and wanted.due.active():
            wanted.due.cancel()
        if wanted.node.link is not None:
            wanted.node.link.close()

    def _begin(self, wanted: _Wanted) -> None:
        if not wanted.is_joining and self._is_wanted(wanted):
            wanted.is_joining = True
            run(self._join(wanted), partial(self._failed, wanted))

    def _is_wanted(self, wanted: _Wanted) -> bool:
        return bool(self.running) and self._wanted.get(wanted.node.name) is wanted

    async def _join(self, wanted: _Wanted) -> None:
        node = wanted.node
        try:
            link = await join(
                self._endpoint(node.peer),
                name=self._name,
                secret=self._secret,
                door=self._door(node.asking, node.minor),
                clock=self._clock,
                roles=self._roles,
                peer=node.name,
            )
        except PushError as error:
            self._not_joined(wanted, str(error))
            return
        finally:
            wanted.is_joining = False
        if not self._is_wanted(wanted):
            link.close()
            return
        wanted.backoff.succeeded()
        node.joined(link)
        self._log.info("joined {name}", name=node.name)
        link.when_lost(lambda why: self._lost(wanted, link, why))
        self._joined(node)

    def _not_joined(self, wanted: _Wanted, why: str) -> None:
        if self._is_wanted(wanted):
            if wanted.node.trouble != why:
                self._log.warn("{name} cannot be joined: {why}", name=wanted.node.name, why=why)
            wanted.node.trouble = why
            self._later(wanted)

    def _lost(self, wanted: _Wanted, link: Link, why: str) -> None:
        if self._is_wanted(wanted) and wanted.node.link is link:
            wanted.node.trouble = why
            self._log.warn("{why}; joining again", why=why)
            self._later(wanted)

    def _later(self, wanted: _Wanted) -> None:
        wait_s = wanted.backoff.failed(self._fraction())
        wanted.due = self._clock.callLater(wait_s, self._begin, wanted)

    def _failed(self, wanted: _Wanted, failure: Failure) -> None:
        self._log.failure("joining a node failed", failure)
        self._not_joined(wanted, "joining it failed unexpectedly; the log says how")
