"""Whether messages really arrive: one is pushed through the router to every connector's client of itself.

Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import PushError
from push.ihealth import IProbe, IReadiness
from push.ipush import IRouter
from push.model import PushRequest, PushResult, ToTokens
from push.model_health import Check

T = TypeVar("T")

CHECK_TIMEOUT_S = 2.0


@implementer(IReadiness)
class Canary(Service):
    """Pushes to the probes of all connectors.

    Args:
        router: what it pushes through.
        probes: what to call connectors → their probes, as they are now.
        clock: for the time limits.
        name: of this node, where several push to the same probes.
        is_one_enough: whether this node can do its work when the message comes through to any one of them.
    """

    def __init__(
        self,
        *,
        router: IRouter,
        probes: Callable[[], Mapping[str, IProbe]],
        clock: IReactorTime,
        name: str = "",
        is_one_enough: bool = False,
    ) -> None:
        self._router = router
        self._probes = probes
        self._clock = clock
        self._name = name
        self._is_one_enough = is_one_enough
        self._number = 0

    def stopService(self) -> "Deferred[None]":
        """Hang up."""
        super().stopService()
        return Deferred.fromCoroutine(self._hang_up_all())

    async def check(self) -> Sequence[Check]:
        """Push one message to each probe and wait until all have come through.

        Returns:
            One check, "delivery"; its detail says which connector's did not, and why.
        """
        probes = self._probes()
        asked = [(name, Deferred.fromCoroutine(self._what_is_wrong(probe))) for name, probe in probes.items()]
        wrong = [(name, await what) for name, what in asked]
        details = [what if len(probes) == 1 else f"{name}: {what}" for name, what in wrong if what]
        is_well = not details or (self._is_one_enough and len(details) < len(probes))
        return [Check("delivery", is_well, "; ".join(details))]

    async def _what_is_wrong(self, probe: IProbe) -> str:
        try:
            await self._arrives(probe)
        except TimeoutError:
            what = f"a message to itself did not arrive within {CHECK_TIMEOUT_S:g} s"
        except PushError as error:
            what = str(error)
        else:
            return ""
        await self._hang_up(probe)  # the next check begins with a new session
        return what

    async def _arrives(self, probe: IProbe) -> None:
        token = await self._limited(probe.open())
        self._number += 1
        payload = f"canary {self._name} {self._number}".encode()
        arrived = self._limited(probe.arrived(payload))
        try:
            # Not to be kept: else it would be kept while a session that has just begun is brought up to date.
            await self._limited(self._push(PushRequest(ToTokens((token,)), payload, 0)))
            await arrived
        finally:
            arrived.addErrback(lambda failure: None)  # whoever gave up before it has said why
            arrived.cancel()

    async def _push(self, request: PushRequest) -> None:
        (result,) = await self._router.push([request])
        if not isinstance(result, PushResult):
            raise result
        if result.sent != 1:
            raise PushError("a message to itself found no session")

    async def _hang_up_all(self) -> None:
        for probe in list(self._probes().values()):
            await self._hang_up(probe)

    async def _hang_up(self, probe: IProbe) -> None:
        try:
            await probe.hang_up()
        except PushError:
            return  # its connector is gone

    def _limited(self, work: Awaitable[T]) -> "Deferred[T]":
        return Deferred.fromCoroutine(_awaited(work)).addTimeout(CHECK_TIMEOUT_S, self._clock)


async def _awaited(work: Awaitable[T]) -> T:
    return await work
