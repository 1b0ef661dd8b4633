"""The small pure parts of the wire core: outbox, backoff, liveness, DISCONNECT bodies."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.backoff import Backoff
from push.protocols.wire.liveness import held_interval_ms, idle_deadline_s
from push.protocols.wire.messages import Disconnect, default_retry, parse_disconnect, write_disconnect
from push.protocols.wire.outbox import Backlog, Outbox


class OutboxTests(SynchronousTestCase):
    """What waits to be written."""

    @given(st.lists(st.binary(min_size=1, max_size=9)))
    def test_what_goes_in_comes_out_in_order(self, parts: list[bytes]) -> None:
        outbox = Outbox()
        for part in parts:
            outbox.append(part)
        self.assertEqual((len(outbox), outbox.messages), (sum(map(len, parts)), len(parts)))
        self.assertEqual(outbox.joined(), b"".join(parts))

    def test_it_may_begin_with_what_waits_already(self) -> None:
        outbox = Outbox(b"ab")
        outbox.append(b"c")
        self.assertEqual((len(outbox), outbox.messages, outbox.joined()), (3, 2, b"abc"))

    def test_what_is_beyond_the_window_comes_out_in_order(self) -> None:
        beyond = Backlog(is_behind=False)
        beyond.append(7, b"abc")
        beyond.append(8, b"d")
        self.assertEqual((len(beyond), beyond.size_bytes, beyond.next_id), (2, 4, 7))
        self.assertEqual([beyond.take(), beyond.next_id, beyond.take()], [b"abc", 8, b"d"])
        self.assertEqual((len(beyond), beyond.size_bytes), (0, 0))


class BackoffTests(SynchronousTestCase):
    """When to try again."""

    def test_bounds_grow_and_stop_growing(self) -> None:
        backoff = Backoff(first_s=1.0, limit_s=10.0)
        self.assertEqual([backoff.failed(1.0) for _ in range(6)], [1, 2, 4, 8, 10, 10])

    def test_jitter_is_full(self) -> None:
        self.assertEqual(Backoff().failed(0.0), 0.0)

    def test_what_the_server_asked_for_is_the_least(self) -> None:
        self.assertEqual(Backoff(first_s=2.0).failed(0.5, retry_after_s=7.0), 8.0)

    def test_success_starts_again(self) -> None:
        backoff = Backoff(first_s=1.0)
        backoff.failed(1.0)
        backoff.succeeded()
        self.assertEqual(backoff.failed(1.0), 1.0)

    def test_ten_thousand_failures_do_not_overflow(self) -> None:
        backoff = Backoff(failures=10_000)
        self.assertEqual(backoff.failed(1.0), 30.0)


class LivenessTests(SynchronousTestCase):
    """How long silence is believed."""

    def test_intervals_are_held_between_ten_seconds_and_half_an_hour(self) -> None:
        for promised_ms, held_ms in ((None, 300_000), (0, 10_000), (10_001, 10_001), (10**12, 1_800_000)):
            self.assertEqual(held_interval_ms(promised_ms), held_ms)

    def test_a_minute_of_grace(self) -> None:
        self.assertEqual(idle_deadline_s(5.0, 10_000), 75.0)


class DisconnectTests(SynchronousTestCase):
    """Why a connection ended."""

    def test_written_and_read_again(self) -> None:
        for disconnect in (Disconnect(3003, "slow", "backoff", 2.5), Disconnect(3504, "kicked")):
            self.assertEqual(parse_disconnect(write_disconnect(disconnect)), disconnect)

    def test_nothing_that_a_peer_says_raises(self) -> None:
        for body in (b"", b"\xff", b"[]", b'{"code":"x","reason":5,"retry":"never","retry_after":-1}'):
            self.assertEqual(parse_disconnect(body), Disconnect(0, "", "backoff", None))

    def test_the_code_says_whether_to_come_back(self) -> None:
        self.assertEqual(
            [default_retry(code) for code in (3000, 3499, 3500, 3999, 0)], ["backoff"] * 2 + ["no"] * 2 + ["backoff"]
        )
