"""The webhook against real HTTP servers on loopback, that take, fail, stall and go away."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface.verify import verifyObject

from push.ihealth import IMeasured
from push.ireceipts import IReceiptObserver
from push.model_receipts import Event
from push.services import webhook, webhook_post
from push.services.webhook import Webhook
from push.services.webhook_post import Answer, Poster
from push.services.webhook_signature import signature
from tests.sdk.test_tls import certificate

SECRETS = (b"s" * 32,)
OLD_SECRET = b"o" * 32
DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def verify_of_the_docs() -> Callable[..., bool]:
    """The function that receivers are told to use."""
    (text,) = re.findall(r"```python\n(.*?)```", (DOCS / "webhook.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(text, names)
    return names["is_from_push"]


class Signatures(SynchronousTestCase):
    """What the documentation tells receivers to do works."""

    is_from_push = staticmethod(verify_of_the_docs())

    def test_receiver_verifies_with_either_secret(self) -> None:
        header = signature((*SECRETS, OLD_SECRET), 1_000, b'{"a":1}')
        for secret in ("s" * 32, "o" * 32):
            self.assertTrue(self.is_from_push(secret, header, b'{"a":1}', 1_200.0))
        self.assertFalse(self.is_from_push("x" * 32, header, b'{"a":1}', 1_200.0))

    def test_another_body_another_time_or_an_old_request_is_refused(self) -> None:
        header = signature(SECRETS, 1_000, b"body")
        self.assertFalse(self.is_from_push("s" * 32, header, b"bodY", 1_000.0))
        self.assertFalse(self.is_from_push("s" * 32, header.replace("t=1000", "t=1001"), b"body", 1_000.0))
        self.assertFalse(self.is_from_push("s" * 32, header, b"body", 1_301.0))
        for garbage in ("", "t=1000", "v1=aa", "t=x,v1=aa", "t=1000,t=1000,v1=aa"):
            self.assertFalse(self.is_from_push("s" * 32, garbage, b"body", 1_000.0))

    def test_vector(self) -> None:
        # printf '1000.body' | openssl dgst -sha256 -hmac ssssssssssssssssssssssssssssssss
        digest = "81084e53ccf94011a18daf4a04b029380980a6bdba2b237572192e16339b5afd"
        self.assertEqual(signature(SECRETS, 1_000, b"body"), f"t=1000,v1={digest}")


class Receiver(Resource):
    """Answers as it is told, and remembers the requests.

    Attributes:
        answers: what to do with the next requests; 204 when there is nothing left.
        requests: headers and body of each.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Any] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.arrived: list[tuple[int, Deferred[None]]] = []

    def render_POST(self, request) -> Any:
        """Take a batch."""
        body = request.content.read()
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.requests.append((headers, body))
        answer = self.answers.pop(0) if self.answers else 204
        for number, arrived in list(self.arrived):
            if len(self.requests) >= number:
                self.arrived.remove((number, arrived))
                reactor.callLater(0, arrived.callback, None)
        if callable(answer):
            return answer(request)
        request.setResponseCode(answer)
        return b""

    def having(self, count: int) -> "Deferred[None]":
        """Fires when so many requests have come."""
        arrived: Deferred[None] = Deferred()
        self.arrived.append((count, arrived))
        return arrived.addTimeout(20, reactor)

    @property
    def batches(self) -> list[Any]:
        """The bodies."""
        return [json.loads(body) for _, body in self.requests]


def after(seconds: float) -> "Deferred[None]":
    """A moment of real time."""
    return deferLater(reactor, seconds)


class Case(TestCase):
    """A receiver on loopback, and a webhook that tries again at once."""

    timeout = 60

    def setUp(self) -> None:
        self.patch(webhook, "LINGER_S", 0.01)
        self.patch(webhook, "FIRST_RETRY_S", 0.02)
        self.patch(webhook, "MAX_RETRY_S", 0.05)
        self.receiver = Receiver()
        self.url = self.serve(Site(self.receiver))
        self.hook = self.make(self.url)

    def serve(self, factory) -> str:
        """Listen, and say where."""
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}/events?secret=hunter2"

    def make(self, url, *, timeout_s=5.0, **more) -> Webhook:
        """A webhook that tells this URL."""
        options = {
            "host": "receiver",
            "secrets": SECRETS,
            "events": [Event.DELIVERED, Event.EXPIRED],
            "max_batch": 100,
            "max_waiting": 1_000,
            "version": "1.2",
            "clock": reactor,
            "now_ms": lambda: 1_700_000_000_999,
            "fraction": lambda: 0.5,
            "run_id": "run",
        }
        hook = Webhook(poster=Poster(url, reactor=reactor, timeout_s=timeout_s), **{**options, **more})
        hook.startService()
        self.addCleanup(hook.stopService)
        return hook

    def tell(self, *message_ids: int, hook=None) -> None:
        """Something was delivered."""
        for message_id in message_ids:
            (hook or self.hook).happened(Event.DELIVERED, message_id, ["t1"], 1_234)

    def ids(self) -> list[list[str]]:
        """The message ids of each request."""
        return [[event["id"] for event in batch["events"]] for batch in self.receiver.batches]

    def counted(self, name, hook=None) -> dict[str, float]:
        """The numbers of a metric by outcome."""
        return {
            dict(sample.labels).get("outcome", ""): sample.value
            for sample in (hook or self.hook).samples()
            if sample.name == name
        }

    async def settled(self, hook=None) -> None:
        """Wait until nothing is on its way."""
        hook = hook or self.hook
        for _ in range(2_000):
            if not hook._is_busy:
                return
            await after(0.005)
        raise AssertionError("it is busy for ever")


class Told(Case):
    """What the receiver gets."""

    def test_provides_its_interfaces(self) -> None:
        verifyObject(IReceiptObserver, self.hook)
        verifyObject(IMeasured, self.hook)

    async def test_batch_of_events_signed_and_named(self) -> None:
        self.hook.happened(Event.DELIVERED, 2**62, ["t1", "t2"], 1_234)
        self.hook.counted(Event.EXPIRED, 7, 30, 1_235)
        await self.receiver.having(1)
        headers, body = self.receiver.requests[0]
        self.assertEqual(
            json.loads(body),
            {
                "batch": "run-1",
                "events": [
                    {"event": "delivered", "id": str(2**62), "token": "t1", "time": 1_234, "count": 1},
                    {"event": "delivered", "id": str(2**62), "token": "t2", "time": 1_234, "count": 1},
                    {"event": "expired", "id": "7", "token": None, "time": 1_235, "count": 30},
                ],
            },
        )
        self.assertEqual(headers["content-type"], "application/json")
        self.assertEqual(headers["user-agent"], "push/1.2")
        is_from_push = verify_of_the_docs()
        self.assertTrue(is_from_push("s" * 32, headers["push-signature"], body, 1_700_000_001.0))
        await self.settled()
        self.assertEqual(self.counted("push_webhook_events_total"), {"taken": 3, "dropped": 0, "given_up": 0})

    async def test_batches_come_in_order_over_one_connection_one_at_a_time(self) -> None:
        open_now = []

        def slowly(request):
            open_now.append(request)
            self.assertEqual(len(open_now), 1)

            def finish():
                open_now.remove(request)
                request.finish()

            reactor.callLater(0.02, finish)
            return NOT_DONE_YET

        self.receiver.answers = [slowly, slowly, slowly]
        clients = set()
        render = self.receiver.render_POST

        def noting(request):
            clients.add(request.getClientAddress().port)
            return render(request)

        self.receiver.render_POST = noting
        self.tell(*range(250))
        await self.receiver.having(3)
        await self.settled()
        self.assertEqual([len(ids) for ids in self.ids()], [100, 100, 50])
        self.assertEqual([each for ids in self.ids() for each in ids], [str(number) for number in range(250)])
        self.assertEqual([batch["batch"] for batch in self.receiver.batches], ["run-1", "run-2", "run-3"])
        self.assertEqual(len(clients), 1)

    async def test_endless_answer_is_cut_and_its_status_counts(self) -> None:
        def pour(request):
            pouring = task.LoopingCall(request.write, b"x" * 10_000)
            request.notifyFinish().addErrback(lambda _: pouring.stop())
            pouring.start(0.001)
            return NOT_DONE_YET

        hook = self.make(self.url, timeout_s=600.0)
        self.receiver.answers = [pour]
        self.tell(1, hook=hook)
        await self.receiver.having(1)
        await self.settled(hook)
        self.tell(2, hook=hook)
        await self.receiver.having(2)
        await self.settled(hook)
        self.assertEqual(self.ids(), [["1"], ["2"]])


class Failing(Case):
    """Receivers that do not take it."""

    async def test_answered_500_then_200_gets_the_same_batch_again_signed_anew(self) -> None:
        times = iter([1_700_000_000_000, 1_700_000_060_000])
        hook = self.make(self.url, now_ms=lambda: next(times))
        self.receiver.answers = [500]
        self.tell(1, 2, hook=hook)
        await self.receiver.having(2)
        await self.settled(hook)
        (first, body), (second, again) = self.receiver.requests
        self.assertEqual(body, again)
        self.assertNotEqual(first["push-signature"], second["push-signature"])
        self.assertTrue(verify_of_the_docs()("s" * 32, second["push-signature"], again, 1_700_000_060.0))
        self.assertEqual(self.counted("push_webhook_requests_total", hook), {"taken": 1, "refused": 1, "unanswered": 0})

    async def test_everything_but_2xx_is_tried_again_and_later_events_wait_behind(self) -> None:
        self.receiver.answers = [400, 401, 404, 429, 503, 304]
        self.tell(1)
        await self.receiver.having(1)
        self.tell(2)
        await self.receiver.having(8)
        await self.settled()
        self.assertEqual(self.ids(), [["1"]] * 7 + [["2"]])

    async def test_redirect_is_not_followed(self) -> None:
        other = Receiver()
        elsewhere = self.serve(Site(other)).encode()

        def redirect(request):
            request.redirect(elsewhere)
            return b""

        self.receiver.answers = [redirect]
        self.tell(1)
        await self.receiver.having(2)
        await self.settled()
        self.assertEqual(other.requests, [])

    async def test_gone_is_told_nothing_more(self) -> None:
        self.receiver.answers = [410]
        self.tell(1)
        await self.receiver.having(1)
        await self.settled()
        self.tell(2, 3)
        await after(0.1)
        self.assertEqual(self.ids(), [["1"]])
        self.assertEqual(self.counted("push_webhook_events_total"), {"taken": 0, "dropped": 2, "given_up": 1})
        self.assertEqual(self.counted("push_webhook_waiting"), {"": 0})

    async def test_silent_receiver_is_given_its_time_and_asked_again(self) -> None:
        hook = self.make(self.url, timeout_s=0.2)
        lost = []

        def stall(request):
            request.notifyFinish().addErrback(lost.append)
            return NOT_DONE_YET

        self.receiver.answers = [stall]
        self.tell(1, hook=hook)
        await self.receiver.having(2)
        await self.settled(hook)
        self.assertEqual(self.ids(), [["1"], ["1"]])
        self.assertEqual(len(lost), 1)
        self.assertEqual(self.counted("push_webhook_requests_total", hook)["unanswered"], 1)

    async def test_answer_whose_body_never_ends_counts_by_its_status(self) -> None:
        def dribble(request):
            request.setResponseCode(200)
            request.write(b"x")
            request.notifyFinish().addErrback(lambda _: None)
            return NOT_DONE_YET

        hook = self.make(self.url, timeout_s=0.2)
        self.receiver.answers = [dribble]
        self.tell(1, hook=hook)
        await self.receiver.having(1)
        await self.settled(hook)
        self.assertEqual(self.counted("push_webhook_requests_total", hook)["taken"], 1)

    async def test_garbage_and_a_closed_door_are_tried_again(self) -> None:
        class Garbage(Protocol):
            def dataReceived(self, data):
                self.transport.write(b"not http at all\r\n\r\n")
                self.transport.loseConnection()

        hook = self.make(self.serve(Factory.forProtocol(Garbage)))
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        closed = self.make(f"http://127.0.0.1:{number}/")
        self.tell(1, hook=hook)
        self.tell(1, hook=closed)
        for each in (hook, closed):
            while self.counted("push_webhook_requests_total", each)["unanswered"] < 2:
                await after(0.02)
        again = reactor.listenTCP(number, Site(self.receiver), interface="127.0.0.1")
        self.addCleanup(again.stopListening)
        await self.receiver.having(1)
        await self.settled(closed)
        self.assertEqual(self.ids(), [["1"]])

    async def test_certificate_of_nobody_is_refused_before_anything_is_said(self) -> None:
        heard = []

        class Ears(Protocol):
            def dataReceived(self, data):
                heard.append(data)

        directory = Path(self.mktemp())
        directory.mkdir()
        pem = certificate(directory, "localhost").read_bytes()
        context = PrivateCertificate.loadPEM(pem).options()
        port = reactor.listenSSL(0, Factory.forProtocol(Ears), context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        poster = Poster(f"https://localhost:{port.getHost().port}/", reactor=reactor, timeout_s=5.0)
        answer = await poster.post(b"secret", {}, 0.0)
        await poster.close()
        self.assertEqual((answer.status, heard), (0, []))
        self.assertRegex(answer.trouble, "Error|Verif")

    async def test_log_says_that_it_fails_once_and_when_it_works_again_and_nothing_secret(self) -> None:
        said = []
        observe = said.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.receiver.answers = [500, 500, 500]
        self.tell(1)
        await self.receiver.having(4)
        await self.settled()
        ours = [formatEvent(event) for event in said if event.get("log_namespace", "").startswith("push.")]
        self.assertEqual(
            ours,
            [
                "the webhook at receiver does not take events: it answered 500",
                "the webhook at receiver takes events again",
            ],
        )
        for event in said:
            text = formatEvent(event) or ""
            if '"POST /' in text:  # the receiver's own
                continue
            for secret in ("hunter2", "t1", "s" * 32):
                self.assertNotIn(secret, text)


class Stopping(Case):
    """The end."""

    async def test_what_waits_is_told_before_the_end(self) -> None:
        self.patch(webhook, "LINGER_S", 30.0)
        self.tell(*range(250))
        await self.hook.stopService()
        self.assertEqual([each for ids in self.ids() for each in ids], [str(number) for number in range(250)])
        self.assertEqual(self.counted("push_webhook_events_total")["taken"], 250)

    async def test_receiver_that_fails_does_not_hold_up_the_end(self) -> None:
        self.patch(webhook, "FIRST_RETRY_S", 3_000.0)
        self.patch(webhook, "MAX_RETRY_S", 3_000.0)
        hook = self.make(self.url)
        self.receiver.answers = [500] * 10
        self.tell(1, hook=hook)
        await self.receiver.having(1)
        await after(0.05)
        self.tell(*range(2, 300), hook=hook)
        await hook.stopService()
        self.assertEqual(self.ids(), [["1"], ["1"]])
        outcomes = self.counted("push_webhook_events_total", hook)
        self.assertEqual(outcomes, {"taken": 0, "given_up": 1, "dropped": 298})

    async def test_receiver_that_stalls_does_not_hold_up_the_end(self) -> None:
        self.patch(webhook, "FLUSH_S", 0.2)

        def stall(request):
            request.notifyFinish().addErrback(lambda _: None)
            return NOT_DONE_YET

        self.receiver.answers = [stall]
        self.tell(1)
        await self.receiver.having(1)
        self.tell(2)
        first, second = self.hook.stopService(), self.hook.stopService()
        await first
        await second
        self.assertEqual(self.counted("push_webhook_events_total"), {"taken": 0, "given_up": 1, "dropped": 1})

    async def test_nothing_is_sent_after_the_end(self) -> None:
        await self.hook.stopService()
        self.tell(1)
        await after(0.05)
        self.assertEqual(self.receiver.requests, [])


class Scripted:
    """A poster that answers as it is told, without a network."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.bodies: list[Any] = []
        self.held: Deferred[None] | None = None

    async def post(self, body, headers, now_s) -> Answer:
        """As Poster's."""
        self.bodies.append(json.loads(body))
        if self.held is not None:
            await self.held
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def abort(self) -> None:
        """Nothing to break off."""

    async def close(self) -> None:
        """Nothing to close."""


class InSimulatedTime(SynchronousTestCase):
    """Pauses and limits."""

    def make(self, *answers: Answer, **more) -> Webhook:
        """A webhook whose receiver answers so, the last one for ever."""
        self.clock = Clock()
        self.poster = Scripted(*answers)
        options = {
            "host": "receiver",
            "secrets": SECRETS,
            "events": list(Event),
            "max_batch": 10,
            "max_waiting": 50,
            "version": "1.2",
            "clock": self.clock,
            "now_ms": lambda: round(self.clock.seconds() * 1000),
            "fraction": lambda: 0.5,
            "run_id": os.urandom(4).hex(),
        }
        hook = Webhook(poster=self.poster, **{**options, **more})
        hook.startService()
        return hook

    def outcomes(self, hook) -> dict[str, float]:
        """Events by what became of them."""
        return {
            dict(sample.labels)["outcome"]: sample.value
            for sample in hook.samples()
            if sample.name == "push_webhook_events_total"
        }

    def test_pauses_grow_with_jitter_up_to_a_minute_and_begin_anew_after_a_success(self) -> None:
        hook = self.make(*[Answer(500)] * 9, Answer(200), Answer(500))
        hook.happened(Event.SENT, 1, ["t"], 0)
        self.clock.advance(webhook.LINGER_S)
        for pause_s in (0.5, 1, 2, 4, 8, 16, 30, 30, 30):
            before = len(self.poster.bodies)
            self.clock.advance(pause_s - 0.01)
            self.assertEqual(len(self.poster.bodies), before)
            self.clock.advance(0.02)
            self.assertEqual(len(self.poster.bodies), before + 1)
        hook.happened(Event.SENT, 2, ["t"], 0)
        self.clock.advance(webhook.LINGER_S)
        self.clock.advance(0.51)
        self.assertEqual(len(self.poster.bodies), 12)

    def test_retry_after_comes_on_top(self) -> None:
        hook = self.make(Answer(429, 100.0), Answer(200))
        hook.happened(Event.SENT, 1, ["t"], 0)
        self.clock.advance(webhook.LINGER_S)
        self.clock.advance(100.4)
        self.assertEqual(len(self.poster.bodies), 1)
        self.clock.advance(0.2)
        self.assertEqual(len(self.poster.bodies), 2)

    def test_batch_that_is_refused_for_an_hour_is_given_up_and_the_next_is_tried(self) -> None:
        hook = self.make(Answer(400))
        hook.happened(Event.SENT, 1, ["t"], 0)
        self.clock.advance(webhook.LINGER_S)
        hook.happened(Event.SENT, 2, ["t"], 0)
        self.clock.pump([30.0] * 125)
        self.assertEqual(self.outcomes(hook)["given_up"], 1)
        self.assertEqual(self.poster.bodies[-1]["events"][0]["id"], "2")

    def test_the_oldest_of_what_waits_are_dropped_and_counted(self) -> None:
        hook = self.make(Answer(200))
        self.poster.held = Deferred()
        hook.happened(Event.SENT, 0, ["t"], 0)
        self.clock.advance(webhook.LINGER_S)
        for message_id in range(1, 101):
            hook.happened(Event.SENT, message_id, ["t"], 0)
        hook.happened(Event.SENT, 101, [str(number) for number in range(10)], 0)
        self.assertEqual(self.outcomes(hook)["dropped"], 60)
        held, self.poster.held = self.poster.held, None
        held.callback(None)
        self.clock.advance(1)
        told = [event["id"] for body in self.poster.bodies for event in body["events"]]
        self.assertEqual(told, ["0", *map(str, range(61, 101)), *["101"] * 10])

    def test_full_batches_do_not_linger(self) -> None:
        hook = self.make(Answer(200))
        for message_id in range(20):
            hook.happened(Event.SENT, message_id, ["t"], 0)
        self.clock.advance(webhook.LINGER_S)
        self.assertEqual([len(body["events"]) for body in self.poster.bodies], [10, 10])

    def test_what_is_heard_before_the_start_is_told_after_it(self) -> None:
        hook = self.make(Answer(200))
        stopped = Webhook(
            poster=self.poster,
            host="",
            secrets=SECRETS,
            events=[],
            max_batch=1,
            max_waiting=9,
            version="",
            clock=self.clock,
            now_ms=lambda: 0,
            fraction=lambda: 0.0,
            run_id="",
        )
        stopped.happened(Event.SENT, 7, ["t"], 0)
        self.clock.advance(1)
        self.assertEqual(self.poster.bodies, [])
        stopped.startService()
        self.clock.advance(1)
        self.assertEqual(self.poster.bodies[0]["events"][0]["id"], "7")
        self.assertEqual(self.outcomes(hook)["taken"], 0)


class RetryAfter(SynchronousTestCase):
    """RFC 9110, 10.2.3."""

    def test_seconds_dates_and_nonsense(self) -> None:
        for text, wanted in (
            ("120", 120.0),
            (" 7 ", 7.0),
            ("99999999999999999999", 3_600.0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 60.0),
            ("Sun, 06 Nov 1994 08:40:37 GMT", 0.0),
            ("Sun, 06 Nov 2094 08:49:37 GMT", 3_600.0),
            ("", 0.0),
            ("-5", 0.0),
            ("soon", 0.0),
            ("٣", 0.0),
        ):
            self.assertEqual(webhook_post._retry_after_s(text, 784_111_717.0), wanted, text)
