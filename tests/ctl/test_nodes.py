"""pushctl drain and where against a small HTTP server; nodes is in test_commands."""

import json
from typing import Any
from unittest import mock

from tests.ctl.test_commands import Answering, CtlCase


def node(name: str, sessions: int, *, draining: bool = True) -> dict[str, Any]:
    """A connector as the API shows it."""
    return {"address": name.partition("#")[0], "name": name, "sessions": sessions, "draining": draining}


class DrainTests(CtlCase):
    """pushctl drain."""

    def setUp(self) -> None:
        super().setUp()
        patched = mock.patch("push.ctl.nodes.POLL_S", 0.0)
        patched.start()
        self.addCleanup(patched.stop)

    def drain(self, *arguments: str, answers: list[Any]) -> Any:
        """Run it; the server answers with these lists of nodes, or whole replies, one after the other."""
        with mock.patch.object(Answering, "answers", _Answers(answers)):
            return self.run_ctl("drain", *arguments)

    def test_it_waits_until_nobody_is_left(self) -> None:
        left = [
            [node("a:1", 3)],
            [node("a:1", 3), node("b:1", 9)],
            [node("a:1", 3)],
            [node("a:1", 1)],
            [node("a:1", 0)],
        ]
        result = self.drain("a:1", "--rate", "5", answers=left)
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(result.stdout, "3 sessions left\n1 sessions left\na:1 is empty: it may be stopped\n")
        first, *others = Answering.requests
        self.assertEqual(first, ("POST", "/v1/nodes/a%3A1:drain", {"sessions_per_s": 5.0}, "Bearer pk_secret"))
        self.assertEqual({(method, path) for method, path, _, _ in others}, {("GET", "/v1/nodes")})

    def test_workers_of_an_address_are_waited_for_together(self) -> None:
        both = [node("a:1#1", 2), node("a:1#2", 3)]
        result = self.drain("a:1", answers=[both, both, [node("a:1#1", 0), node("a:1#2", 0)]])
        self.assertEqual(result.stdout, "5 sessions left\na:1 is empty: it may be stopped\n")

    def test_one_that_was_stopped_meanwhile_is_gone(self) -> None:
        answers = [[node("a:1", 2)], [node("b:1", 9, draining=False)]]
        self.assertEqual(self.drain("a:1", answers=answers).stdout, "a:1 is gone\n")

    def test_an_api_that_knows_of_nobody_has_just_been_started_and_is_asked_again(self) -> None:
        answers = [[node("a:1", 2)], [], [], [node("a:1", 1), node("b:1", 9)], [node("a:1", 0), node("b:1", 10)]]
        result = self.drain("a:1", answers=answers)
        self.assertEqual(result.stdout, "1 sessions left\na:1 is empty: it may be stopped\n")

    def test_an_api_that_does_not_answer_for_a_moment_is_asked_again(self) -> None:
        stopping = (503, {"error": {"code": 503, "reason": "UNAVAILABLE", "message": "The server is stopping."}})
        result = self.drain("a:1", answers=[[node("a:1", 2)], stopping, stopping, [node("a:1", 0)]])
        self.assertEqual((result.exit_code, result.stdout), (0, "a:1 is empty: it may be stopped\n"))

    def test_one_that_does_not_answer_for_long_is_given_up(self) -> None:
        stopping = (503, {"error": {"code": 503, "reason": "UNAVAILABLE", "message": "The server is stopping."}})
        with mock.patch("push.ctl.nodes.PATIENCE_S", 0.0):
            result = self.drain("a:1", answers=[[node("a:1", 2)], stopping, [node("a:1", 0)]])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("The server is stopping", result.stderr)

    def test_a_key_that_is_not_good_any_more_is_said_at_once(self) -> None:
        refused = (401, {"error": {"code": 401, "reason": "UNAUTHENTICATED", "message": "who are you"}})
        result = self.drain("a:1", answers=[[node("a:1", 2)], refused, [node("a:1", 0)]])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("who are you", result.stderr)

    def test_one_that_does_not_answer_is_neither_gone_nor_empty(self) -> None:
        both = [node("a:1#1", 2), node("a:1#2", 0)]
        silent = {"nodes": [node("a:1#2", 0)], "unreachable": ["a:1#1"]}
        empty = [node("a:1#1", 0), node("a:1#2", 0)]
        result = self.drain("a:1", answers=[both, both, silent, {"nodes": [], "unreachable": ["a:1#1"]}, both, empty])
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(result.stdout, "2 sessions left\na:1 is empty: it may be stopped\n")
        self.assertEqual(len(Answering.requests), 6, "it stopped asking while one did not answer")

    def test_one_that_takes_sessions_again_is_not_waited_for(self) -> None:
        result = self.drain("a:1", answers=[[node("a:1", 2)], [node("a:1", 2, draining=False)]])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("takes sessions again", result.stderr)

    def test_without_waiting(self) -> None:
        result = self.run_ctl("drain", "a:1#2", "--no-wait", answer={"nodes": [node("a:1#2", 7)]})
        self.assertEqual(result.stdout, "a:1#2 is being emptied: 7 sessions left\n")
        self.assertEqual(Answering.requests[0][1], "/v1/nodes/a%3A1%232:drain")

    def test_undoing(self) -> None:
        result = self.run_ctl("drain", "a:1", "--undo", answer={"nodes": [node("a:1", 7, draining=False)]})
        self.assertEqual(result.stdout, "a:1 takes sessions again\n")
        self.assertEqual(Answering.requests[0][:3], ("POST", "/v1/nodes/a%3A1:undrain", None))

    def test_nowhere_else_to_go_is_said(self) -> None:
        error = {"code": 409, "reason": "NOWHERE_ELSE", "message": "no connector at another address takes sessions"}
        result = self.run_ctl("drain", "a:1", answer={"error": error}, status=409)
        self.assertEqual(result.exit_code, 1)
        self.assertIn("no connector at another address takes sessions (NOWHERE_ELSE)", result.stderr)


class _Answers(list[Any]):
    """One answer after the other, whatever a test of run_ctl lays out; those that are pairs with their status."""

    def __init__(self, answers: list[Any]) -> None:
        replies = (each if isinstance(each, tuple) else (200, each) for each in answers)
        found = ((status, {"nodes": reply} if isinstance(reply, list) else reply) for status, reply in replies)
        super().__init__((status, json.dumps(reply).encode()) for status, reply in found)

    def __setitem__(self, *_: Any) -> None:
        """Keep what there is."""


class WhereTests(CtlCase):
    """pushctl where."""

    def test_an_online_token(self) -> None:
        reply = {"token": "t/1", "uid": "alice", "online": True, "connector": "a:1#2", "since": 1_700_000_000_000}
        result = self.run_ctl("where", "t/1", answer=reply)
        self.assertEqual(result.stdout, "online at a:1#2 since 2023-11-14 22:13:20Z, user alice\n")
        self.assertEqual(Answering.requests[0][1], "/v1/tokens/t%2F1")
        self.assertEqual(json.loads(self.run_ctl("where", "t", "--json", answer=reply).stdout), reply)

    def test_an_offline_token(self) -> None:
        result = self.run_ctl("where", "t", answer={"token": "t", "uid": None, "online": False, "connector": None})
        self.assertEqual(result.stdout, "offline\n")

    def test_an_unknown_token(self) -> None:
        error = {"code": 404, "reason": "UNREGISTERED", "message": "not registered"}
        result = self.run_ctl("where", "t", answer={"error": error}, status=404)
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
