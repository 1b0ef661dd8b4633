"""The canary: finds out whether messages arrive, and shows up nowhere."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.ihealth import IProbe, IReadiness
from push.model import PushRequest, ToAll
from push.model_health import Check
from push.protocols.framed import FramedFactory
from push.services.canary import CHECK_TIMEOUT_S, Canary
from push.services.ids import MessageIds
from push.services.nodes import LocalNodes
from push.services.probe import Probe
from push.services.readiness import Readiness
from push.services.router import Router
from tests.fakes_cache import MemoryCache, MemoryReceipts
from tests.services.clients import make_connector


class CanaryTests(SynchronousTestCase):
    """A node that pushes to itself."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector, self.subscribe, self.store = make_connector(self.clock)
        ids = MessageIds(node=0, now_ms=lambda: 1_800_000_000_000)
        ids.is_ready = True
        self.router = Router(
            subscribe=self.subscribe,
            nodes=LocalNodes(self.connector),
            cache=MemoryCache(),
            receipts=MemoryReceipts(),
            ids=ids,
        )
        self.probe = Probe(connector=self.connector, subscribe=self.subscribe, protocol=FramedFactory, clock=self.clock)
        self.canary = Canary(router=self.router, probes=lambda: {"here": self.probe}, clock=self.clock)

    def check(self) -> Check:
        """One check, with the time that it takes."""
        work = Deferred.fromCoroutine(self.canary.check())
        self.clock.advance(0)
        if not work.called:
            self.clock.advance(CHECK_TIMEOUT_S)
        (check,) = self.successResultOf(work)
        return check

    def test_it_is_an_ireadiness(self) -> None:
        verifyObject(IReadiness, self.canary)
        verifyObject(IProbe, self.probe)

    def test_a_message_that_arrives_is_well(self) -> None:
        self.assertEqual([self.check().ok, self.check().ok], [True, True])

    def test_its_message_is_not_kept_though_its_session_is_not_up_to_date_yet(self) -> None:
        pushed: list[PushRequest] = []
        real = self.router.push

        def push(requests: Any) -> Any:
            pushed.extend(requests)
            return real(requests)

        self.router.push = push  # type: ignore[method-assign]
        self.assertTrue(self.check().ok)
        self.assertEqual([request.ttl_s for request in pushed], [0])

    def test_it_is_no_connection_no_session_and_no_target(self) -> None:
        self.check()
        self.assertEqual((len(self.connector.connections), self.connector.connections.sessions), (0, 0))
        self.assertEqual(self.store.count(), 0)
        work = Deferred.fromCoroutine(self.router.push([PushRequest(ToAll(), b"x")]))
        self.clock.advance(0)
        (result,) = self.successResultOf(work)
        self.assertEqual(getattr(result, "targets", None), 0)

    def test_what_was_broadcast_since_the_check_before_makes_no_difference(self) -> None:
        self.check()
        for number in range(2):
            work = Deferred.fromCoroutine(self.router.push([PushRequest(ToAll(), b"%d" % number)]))
            self.clock.advance(0)
            self.successResultOf(work)
            check = self.check()
            self.assertTrue(check.ok, check.detail)

    def test_a_connector_that_loses_messages_is_found_out_and_recovery_too(self) -> None:
        self.check()
        deliver = self.connector.deliver

        async def lose(batch: Any) -> Any:
            report = await deliver([])
            return type(report)([1], {})

        patch = self.patch(self.connector, "deliver", lose)
        check = self.check()
        self.assertFalse(check.ok)
        self.assertIn("did not arrive", check.detail)
        patch.restore()
        self.assertTrue(self.check().ok)

    def test_a_router_that_hangs_is_found_out(self) -> None:
        self.patch(self.router, "push", lambda requests: Deferred())
        self.assertFalse(self.check().ok)

    def test_nothing_of_it_is_left_when_it_stops(self) -> None:
        self.check()
        self.canary.stopService()
        self.assertEqual(dict(self.connector.connections.by_token), {})
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReadinessTests(SynchronousTestCase):
    """Checks together."""

    def test_thorough_checks_are_made_only_when_the_quick_ones_are_well(self) -> None:
        class Thorough:
            async def check(self) -> list[Check]:
                return [Check("thorough", True)]

        for ok, names in ((True, ["quick", "thorough"]), (False, ["quick"])):
            readiness = Readiness([lambda ok=ok: [Check("quick", ok)]], [Thorough()])  # type: ignore[misc, list-item]
            checks = self.successResultOf(Deferred.fromCoroutine(readiness.check()))
            self.assertEqual([check.name for check in checks], names)
