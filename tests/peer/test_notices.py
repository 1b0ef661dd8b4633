"""Notices on their way to a connector elsewhere: in calls of bearable size, in their order, and not to who said it."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from push.model_chat import Notice, runs, without_but
from push.protocols.peer import remote_connector
from push.protocols.peer.envelopes import MINOR, MINOR_BUT, Notify, Reader, encode
from push.protocols.peer.remote_connector import RemoteConnector, notices_in_calls

NOTIFY: Reader[Notify] = Reader(Notify)


class Link:
    """Notes calls, and answers that one connection was told."""

    def __init__(self) -> None:
        self.calls: list[Notify] = []

    def when_lost(self, call: Any) -> None:
        """Never."""

    def broken(self, failure: Any) -> None:
        """Never."""

    def call(self, name: str, data: bytes, **more: Any) -> Deferred[bytes]:
        """What a door gets."""
        assert name == "notify"
        self.calls.append(NOTIFY.read(data))
        return succeed(encode(1))


def heard(notices: Any) -> dict[str, list[bytes]]:
    """What each token is told, in order."""
    found: dict[str, list[bytes]] = {}
    for notice in notices:
        for token in notice.tokens:
            if token != notice.but:
                found.setdefault(token, []).append(notice.chat)
    return found


class NoticesTests(SynchronousTestCase):
    """Cut and put together."""

    def setUp(self) -> None:
        self.everybody = [f"t{number}" for number in range(100)]
        self.notices = [
            Notice(self.everybody, 17, b"one", but="t3"),
            Notice(self.everybody, 17, b"two", but="t99"),
            Notice(["t1", "t2"], 17, b"three"),
            Notice(self.everybody, 17, b"four"),
            Notice(list(self.everybody), 17, b"five", but="t0"),
        ]

    def test_those_for_the_same_are_together_and_keep_their_order(self) -> None:
        found = [[notice.chat for notice in run] for run in runs(self.notices, 64, 1_000)]
        self.assertEqual(found, [[b"one", b"two"], [b"three"], [b"four", b"five"]])
        self.assertEqual([len(run) for run in runs(self.notices[:2] * 3, 4, 1_000)], [4, 2])
        self.assertEqual([len(run) for run in runs(self.notices[:2] * 3, 64, 6)], [2, 2, 2])
        self.assertEqual([len(run) for run in runs(self.notices[:1], 64, 1)], [1])
        self.assertEqual(list(runs([], 64, 1)), [])

    def test_calls_have_all_of_it_in_order_for_each_token(self) -> None:
        for tokens, piece in ((30, 100_000), (30, 200), (1_500, 1)):
            self.patch(remote_connector, "_NOTIFIED_TOKENS", tokens)
            self.patch(remote_connector, "PIECE_BYTES", piece)
            calls = list(notices_in_calls(self.notices))
            self.assertEqual(heard(notice for call in calls for notice in call), heard(self.notices))

    def test_an_older_connector_is_not_told_of_whom_to_leave_out(self) -> None:
        for minor, buts in ((MINOR, {"t3", "t99", "t0", ""}), (MINOR_BUT - 1, {""})):
            link: Any = Link()
            connector = RemoteConnector("10.0.0.1:6789", link, max_waiting_bytes=1_000_000, minor=minor)
            self.successResultOf(Deferred.fromCoroutine(connector.notify(self.notices)))
            arrived = [notice for call in link.calls for notice in call.notices]
            self.assertEqual({notice.but for notice in arrived}, buts)
            self.assertEqual(heard(arrived), heard(self.notices))

    def test_who_is_left_out_is_so_though_nobody_says_it(self) -> None:
        self.assertIs(without_but(self.notices[3]), self.notices[3])
        self.assertEqual(heard([without_but(self.notices[0])]), heard([self.notices[0]]))
