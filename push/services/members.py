"""Which nodes a cluster has: each holds a lease under its name, with what it says of itself; who holds none is dead.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import PushError
from push.ihealth import IMeasured
from push.ileases import ILeases
from push.inodes import IPlaces
from push.model_cluster import Lease, Member, Node
from push.model_health import Check, Sample
from push.services.periodic import Periodic
from push.services.tasks import Tasks
from push.services.tenancy import Tenancy

PREFIX = "node:"
CACHE = "cache"
LEASE_S = 7.0
# How old what is known of others may be; what a look costs Redis is 10 µs and 2 for each lease (2026-11-23).
LOOK_S = 1.0

_decoder = msgspec.msgpack.Decoder(Member)


@implementer(IPlaces, IMeasured)
class Members(Service):
    """The nodes of a cluster, as one of them sees them.

    Args:
        name: of this node.
        describe: what it says of itself, as it is now.
        leases: where all say it.
        clock: for the intervals.
        ttl_s: for how long a node that has died counts as alive.
        gained: called when this node counts as alive.
        lost: called when it may count as dead by now.
        changed: called when something has changed among the others.
        gone: called with the name of a node that has died or left.

    Attributes:
        cache_holder: the name of the node that has the cache now; "" where it is not known.
        cache_number: of its lease.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        *,
        describe: Callable[[], Member],
        leases: ILeases,
        clock: IReactorTime,
        ttl_s: float = LEASE_S,
        gained: Callable[[], None] = lambda: None,
        lost: Callable[[], None] = lambda: None,
        changed: Callable[[], None] = lambda: None,
        gone: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.own_name = name
        self._leases = leases
        self._gained = gained
        self._lost = lost
        self._changed = changed
        self._gone_one = gone
        self._tasks = Tasks()
        self._members: dict[str, Member] = {}
        self._unread: set[str] = set()
        self._is_loaded = False
        self._is_looking = False
        self._trouble = "not asked yet"
        self.cache_holder = ""
        self.cache_number = 0
        self._tenancy = Tenancy(
            lambda: (PREFIX + name,),
            leases=leases,
            details=lambda: msgspec.msgpack.encode(describe()),
            ttl_s=ttl_s,
            clock=clock,
            gained=self._is_alive_now,
            lost=self._may_be_dead,
        )
        self._looks = Periodic("looking who is there", self._look, interval_s=LOOK_S, clock=clock)

    def all(self) -> Mapping[str, Member]:
        """The nodes that are alive, this one included, by name; as they were when they were seen last."""
        return self._members

    def others(self, role: str) -> Sequence[Member]:
        """Those with a role, without this one."""
        return [each for each in self._members.values() if role in each.roles and each.name != self.own_name]

    async def refresh(self) -> None:
        """Know who is there now.

        Raises:
            Unavailable: that cannot be asked.
        """
        self._take(await self._leases.held())

    async def is_dead(self, name: str) -> bool:
        """Ask whether nobody has this name now.

        Raises:
            Unavailable: that cannot be asked.
        """
        return all(lease.name != PREFIX + name for lease in await self._leases.held())

    def known(self) -> Sequence[Node]:
        """See IPlaces."""
        return [each.connector for each in self._members.values() if each.connector is not None]

    def checks(self) -> Sequence[Check]:
        """Whether this node counts as alive, and knows the others."""
        if self._tenancy.lease is not None and self._is_loaded and not self._trouble:
            return [Check("cluster", True)]
        why = self._trouble
        if not why and PREFIX + self.own_name in self._taken():
            why = f"another node, or an earlier run of this one a moment ago, is called {self.own_name}"
        return [Check("cluster", False, why or "this node is not known to the others yet")]

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_members", "gauge", "Nodes of the cluster that are alive.", len(self._members))
        is_alive = float(self._tenancy.is_held)
        yield Sample("push_member", "gauge", "1 while this node counts as alive among the others.", is_alive)

    def startService(self) -> None:
        """Say that this node is there, and look for others."""
        super().startService()
        self._tenancy.startService()
        self._looks.startService()
        self._look()

    def stopService(self) -> "Deferred[None]":
        """Say that it is not; fires when that is said, or cannot be."""
        super().stopService()
        self._looks.stopService()
        return self._tenancy.stopService()

    def _is_alive_now(self, lease: Lease) -> None:
        self._log.info("this node is known to the others as {name}", name=self.own_name)
        self._gained()

    def _may_be_dead(self) -> None:
        if self.running:
            self._log.warn("this node may count as dead by now: its lease was not renewed")
            self._lost()

    def _taken(self) -> Iterable[str]:
        return (PREFIX + name for name in self._members)

    def _look(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._tasks.spawn("looking who is there", self._see())

    async def _see(self) -> None:
        try:
            leases = await self._leases.held()
        except PushError as error:
            self._trouble = str(error)  # what was known lasts
            return
        finally:
            self._is_looking = False
        if not self.running:
            return
        self._trouble = ""
        self._is_loaded = True
        self._take(leases)

    def _take(self, leases: Sequence[Lease]) -> None:
        before = self._members, self.cache_holder, self.cache_number
        members: dict[str, Member] = {}
        self.cache_holder = ""
        for lease in leases:
            if lease.name == CACHE:
                self.cache_holder, self.cache_number = lease.details.decode("utf-8", "replace"), lease.number
            elif lease.name.startswith(PREFIX):
                member = self._read(lease)
                if member is not None:
                    members[member.name] = member
        self._members = members
        gone = [name for name in before[0] if name not in members]
        if before != (members, self.cache_holder, self.cache_number):
            self._changed()
        for name in gone:
            if name != self.own_name:
                self._log.info("{name} is gone", name=name)
                self._gone_one(name)

    def _read(self, lease: Lease) -> Member | None:
        try:
            member = _decoder.decode(lease.details)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            why = str(error)
        else:
            if PREFIX + member.name == lease.name:
                self._unread.discard(lease.name)
                return member
            why = "its name is another one"
        if lease.name not in self._unread:
            self._unread.add(lease.name)
            self._log.warn("what {name} says of itself cannot be read: {why}", name=lease.name, why=why)
        return None
