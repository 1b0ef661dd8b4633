"""Tests of push.services.asking and notifying: what connectors do for the group role."""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.errors import PermissionDenied, RateLimited
from push.igroup import IChat
from push.model import Registration
from push.model_chat import Notice
from push.protocols.wire.server import MAX_ASKED
from push.protocols.wire.signals import Signal, SubSignal
from push.services.asking import LIMIT_S, ChatPlug
from push.services.connector import Connector
from tests.services.clients import Client, make_connector


@implementer(IChat)
class HeldChat:
    """A group role that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Registration, int, int, bytes]] = []
        self.answers: list[Deferred[bytes]] = []

    async def ask(self, registration: Registration, signal: int, subsignal: int, body: bytes) -> bytes:
        """See IChat."""
        self.asked.append((registration, signal, subsignal, body))
        answer: Deferred[bytes] = Deferred()
        self.answers.append(answer)
        return await answer


class AskingCase(SynchronousTestCase):
    """One connector, and a group role by hand."""

    limits: dict[str, Any] = {}  # noqa: RUF012

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector, *_ = make_connector(self.clock, **self.limits)
        self.chat = HeldChat()
        plug = ChatPlug()
        plug.chat = self.chat
        self.connector.asked = self._asking(self.connector, plug)

    def _asking(self, connector: Connector, chat: IChat) -> Callable[..., None]:
        from push.services.asking import Asking

        return Asking(chat=chat, clock=self.clock, tasks=connector.tasks).asked

    def client(self, **fields: Any) -> tuple[Client, str]:
        """A client with a session, and its token."""
        client = Client(self.connector, self.clock)
        return client, client.sub(**fields)["token"]

    def answer(self, client: Client) -> Any:
        """The status byte and JSON of the one answer that came."""
        (frame,) = client.frames()
        assert frame.signal == Signal.PUB_ACK
        return frame.body[0], json.loads(frame.body[1:])


class AskingTests(AskingCase):
    """Requests."""

    def test_the_interface_is_kept(self) -> None:
        verifyObject(IChat, ChatPlug())
        verifyObject(IChat, self.chat)

    def test_what_is_asked_arrives_with_its_session_and_the_answer_comes_back(self) -> None:
        client, token = self.client(uid="alice")
        client.send(Signal.PUBLISH, b"body", subsignal=SubSignal.MS, message_id=7)
        ((registration, *what),) = self.chat.asked
        self.assertEqual((registration.token, registration.uid), (token, "alice"))
        self.assertEqual(what, [Signal.PUBLISH, SubSignal.MS, b"body"])
        self.assertEqual(client.frames(), [])
        self.chat.answers[0].callback(b"\0{}")
        (frame,) = client.frames()
        self.assertEqual((frame.signal, frame.subsignal, frame.message_id), (Signal.PUB_ACK, SubSignal.MS, 7))
        self.assertEqual(frame.body, b"\0{}")

    def test_pushes_and_heartbeats_do_not_wait_for_an_answer(self) -> None:
        client, _ = self.client()
        client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS, message_id=7)
        client.send(Signal.PING, b"", message_id=8)
        self.assertEqual([frame.signal for frame in client.frames()], [Signal.PING])

    def test_refusals_are_said_as_each_form_says_them(self) -> None:
        client, _ = self.client()
        client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS, message_id=1)
        client.send(Signal.CONTACT, b"{}", message_id=2)
        self.chat.answers[0].errback(RateLimited("slowly", retry_after_s=1.5))
        self.assertEqual(self.answer(client), (7, {"status": 429, "reason": "slowly", "retry_after": 1.5}))
        self.chat.answers[1].errback(PermissionDenied("no"))
        (frame,) = client.frames()
        self.assertEqual(json.loads(frame.body), {"status": 403, "reason": "no"})

    def test_a_mistake_of_ours_is_logged_and_answered(self) -> None:
        client, _ = self.client()
        client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS, message_id=1)
        self.chat.answers[0].errback(ZeroDivisionError("secret"))
        status, fields = self.answer(client)
        self.assertEqual((status, fields["status"]), (8, 503))
        self.assertNotIn("secret", fields["reason"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_takes_too_long_is_answered_once(self) -> None:
        client, _ = self.client()
        client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS, message_id=1)
        self.clock.advance(LIMIT_S)
        self.assertEqual(self.answer(client)[1]["status"], 503)
        self.chat.answers[0].callback(b"\0{}")
        self.assertEqual(client.frames(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_only_so_many_are_under_way(self) -> None:
        client, _ = self.client()
        for number in range(1, MAX_ASKED + 3):
            client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS, message_id=number)
        self.assertEqual(len(self.chat.asked), MAX_ASKED)
        refused = client.frames()
        self.assertEqual([frame.message_id for frame in refused], [MAX_ASKED + 1, MAX_ASKED + 2])
        self.assertEqual({frame.body[0] for frame in refused}, {7})
        self.chat.answers[0].callback(b"\0{}")
        client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS, message_id=99)
        self.assertEqual(len(self.chat.asked), MAX_ASKED + 1)

    def test_who_leaves_is_not_answered(self) -> None:
        client, _ = self.client()
        client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS, message_id=1)
        client.hang_up()
        self.chat.answers[0].callback(b"\0{}")
        self.clock.advance(0)

    def test_who_ends_only_its_side_is_answered_first(self) -> None:
        client, _ = self.client()
        client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS, message_id=1)
        client.protocol.readConnectionLost()
        self.assertFalse(client.is_ended)
        self.chat.answers[0].callback(b"\0{}")
        self.assertEqual([frame.signal for frame in client.frames()], [Signal.PUB_ACK])
        self.assertTrue(client.is_ended)

    def test_without_a_group_role_it_is_said(self) -> None:
        self.connector.asked = self._asking(self.connector, ChatPlug())
        client, _ = self.client()
        client.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MS, message_id=1)
        self.assertEqual(self.answer(client)[1]["status"], 501)


class NotifyingTests(AskingCase):
    """Notices."""

    limits = {"max_outbox_bytes": 2_000, "max_outbox_messages": 5}  # noqa: RUF012

    def notify(self, *notices: Notice) -> int:
        """Tell, and give how many connections that went to."""
        work = Deferred.fromCoroutine(self.connector.notify(notices))
        while not work.called:
            self.clock.advance(0)
        return self.successResultOf(work)

    def test_each_form_gets_its_own_and_who_has_none_gets_nothing(self) -> None:
        old, old_token = self.client()
        new, new_token = self.client()
        new.send(Signal.PUBLISH, b"{}", subsignal=SubSignal.MP)
        tokens = [old_token, new_token, "away"]
        self.assertEqual(self.notify(Notice(tokens, SubSignal.MN, b"chat", b"contact")), 2)
        (frame,) = old.frames()
        self.assertEqual((frame.signal, frame.subsignal, frame.body), (Signal.CONTACT, 0, b"contact"))
        (frame,) = new.frames()
        self.assertEqual((frame.signal, frame.subsignal, frame.body), (Signal.PUBLISH, SubSignal.MN, b"chat"))
        self.assertEqual(self.notify(Notice(tokens, SubSignal.RMN, b"chat")), 1)
        self.assertEqual(old.frames(), [])

    def test_notices_keep_their_order(self) -> None:
        client, token = self.client()
        self.notify(*(Notice([token], SubSignal.MN, b"", b"%d" % number) for number in range(9)))
        self.assertEqual([frame.body for frame in client.frames()], [b"%d" % number for number in range(9)])

    def test_what_goes_to_the_same_goes_with_one_write_but_to_who_said_it(self) -> None:
        clients = [self.client() for _ in range(3)]
        tokens = [token for _, token in clients]
        writes: list[bytes] = []
        for client, _ in clients:
            transport, write = client.protocol.transport, client.protocol.transport.write
            self.patch(transport, "write", lambda data, write=write: (writes.append(data), write(data)))
        notices = [
            Notice(tokens, SubSignal.MN, b"", b"%d" % at, but) for at, but in enumerate((tokens[0], "", tokens[1]))
        ]
        self.assertEqual(self.notify(*notices), 7)
        self.clock.advance(0)
        self.assertEqual(len(writes), 3)
        heard = [b"".join(frame.body for frame in client.frames()) for client, _ in clients]
        self.assertEqual(heard, [b"12", b"01", b"012"])

    def test_what_is_too_much_for_one_write_closes_nobody(self) -> None:
        client, token = self.client()
        self.notify(*(Notice([token], SubSignal.MN, b"", b"x" * 500) for _ in range(5)))
        self.assertEqual(len(client.frames()), 5)
        self.assertFalse(client.is_ended)

    def test_who_does_not_read_is_closed_and_the_others_are_told(self) -> None:
        slow, slow_token = self.client()
        other, other_token = self.client()
        slow.stop_reading()
        for number in range(8):
            self.notify(Notice([slow_token, other_token], SubSignal.MN, b"", b"%d" % number))
        self.assertTrue(slow.is_ended)
        self.assertEqual(len(other.frames()), 8)

    def test_an_acknowledging_client_s_window_does_not_hold_up_chat(self) -> None:
        client, token = self.client(ack=True)
        for number in range(1, 9):
            self.assertEqual(self.notify(Notice([token], SubSignal.MN, b"", b"%d" % number)), 1)
            client.frames()


class LargeGroupTests(AskingCase):
    """Notices for many."""

    limits = {"max_connections_per_address": 1_000, "max_connections": 1_000, "max_subs_per_s": 1_000}  # noqa: RUF012

    def test_large_groups_are_told_in_slices_that_have_their_writes_in_them(self) -> None:
        clients = [self.client() for _ in range(200)]
        written: list[bytes] = []

        def slowly(data: bytes) -> None:
            written.append(data)
            self.clock.rightNow += 0.001

        for client, _ in clients:
            self.patch(client.protocol.transport, "write", slowly)
        notice = Notice([token for _, token in clients], SubSignal.MN, b"", b"x")
        work = Deferred.fromCoroutine(self.connector.notify([notice]))
        self.assertEqual(len(written), 64)
        self.clock.advance(0)
        self.assertEqual((self.successResultOf(work), len(written)), (200, 200))
