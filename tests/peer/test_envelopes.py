"""Envelopes are read only where they are what they should be, and errors become what they were."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push import errors
from push.protocols.peer import errors as peer_errors
from push.protocols.peer.asks import Ask, Told
from push.protocols.peer.envelopes import Closed, Hello, Kick, Open, Reader, Session, encode
from push.protocols.peer.errors import CallFailed, CallMalformed, Trouble

ASK: Reader[Ask] = Reader(Ask)


class ReaderTests(SynchronousTestCase):
    """What is not right is refused."""

    def test_what_is_out_of_its_limits_is_refused(self) -> None:
        good = ["open", "token", "uid", "auth", True, "{}", ["tag"]]
        ASK.read(encode([1, good]))
        for position, wrong in (
            (0, "shut"),
            (1, ""),
            (1, "t" * 129),
            (1, "a b"),
            (1, "token\n"),
            (1, b"token"),
            (2, ""),
            (2, "u" * 129),
            (3, "a" * 4097),
            (4, 1),
            (5, "d" * 1025),
            (6, ["t"] * 33),
            (6, ["t" * 65]),
            (6, "tag"),
        ):
            bad = [*good]
            bad[position] = wrong
            self.assertRaises(CallMalformed, ASK.read, encode([1, bad]))
        for number in (-1, 2**63, "1", None):
            self.assertRaises(CallMalformed, ASK.read, encode([number, good]))

    @given(st.binary(max_size=200))
    def test_garbage_is_refused_and_never_worse(self, data: bytes) -> None:
        for reader in (ASK, Reader[Told](Told), Reader[Hello](Hello), Reader[Kick](Kick)):
            try:
                reader.read(data)
            except CallMalformed as error:
                self.assertLess(len(str(error)), 500)

    def test_only_bytes_are_read(self) -> None:
        for wrong in ("text", 1, None, [1], bytearray(b"\x92")):
            self.assertRaises(CallMalformed, ASK.read, wrong)

    def test_a_newer_minor_version_may_say_more_and_an_older_one_less(self) -> None:
        self.assertEqual(Reader[Hello](Hello).read(encode({"major": 1, "minor": 9, "mood": "good"})), Hello(1, 9))
        session = Reader[Session](Session)
        self.assertEqual(session.read(encode(["t", None, 5])), Session("t", None, 5, False))
        self.assertEqual(session.read(encode(["t", None, 5, True, "more"])), Session("t", None, 5, True))

    def test_what_was_written_is_read(self) -> None:
        for ask in (
            Ask(1, Open(None, "alice", None, None, None, ("a", "b"))),
            Ask(2, Closed((Session("t", None, 2**53, True),))),
        ):
            self.assertEqual(ASK.read(encode(ask)), ask)


class ErrorTests(SynchronousTestCase):
    """Errors of push.errors cross the link."""

    def test_each_becomes_what_it_was(self) -> None:
        classes = [each for each in vars(errors).values() if isinstance(each, type)]
        kinds = [each for each in classes if issubclass(each, errors.PushError)]
        self.assertIn(errors.CacheFull, kinds)
        for kind in kinds:
            failed = peer_errors.as_call_failed(kind("a sentence", retry_after_s=2.0))
            error = peer_errors.from_remote(f"push.protocols.peer.errors.{CallFailed.__name__}", str(failed))
            self.assertEqual((error.status, error.reason, error.retry), (kind.status, kind.reason, kind.retry))
            self.assertEqual((str(error), error.retry_after_s), ("a sentence", 2.0))
            self.assertIsInstance(kind("x"), type(error))

    def test_a_reason_that_is_not_known_yet_is_an_error_all_the_same(self) -> None:
        error = peer_errors.error_of(Trouble("TOMORROWS_REASON", "a sentence"))
        self.assertIs(type(error), errors.PushError)

    def test_what_was_not_foreseen_shows_no_text_of_the_other_side(self) -> None:
        error = peer_errors.from_remote("builtins.ValueError", "a secret")
        self.assertNotIn("secret", str(error))
        unreadable = peer_errors.from_remote("x.CallFailed", "no JSON")
        self.assertIs(type(unreadable), errors.PushError)

    def test_a_long_message_is_cut(self) -> None:
        trouble = msgspec.json.decode(str(peer_errors.as_call_failed(errors.Unavailable("x" * 9999))), type=Trouble)
        self.assertLess(len(trouble.message), 1000)
