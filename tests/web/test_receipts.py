"""What became of messages, over HTTP."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.model_receipts import Event, Receipt, TokenReceipt
from tests.web.fakes import World
from tests.web.test_auth import bearer, key

ID = 118_236_469_293_744_128
PATH = f"/v1/messages/{ID}"


class ReceiptTests(SynchronousTestCase):
    """GET and DELETE /v1/messages/{id}, and :explain."""

    def setUp(self) -> None:
        self.world = World()

    def add(self, message_id: int = ID, **more: Any) -> None:
        """A message that was accepted."""
        given: dict[str, Any] = {
            "accepted_ms": 10,
            "expires_ms": None,
            "due_ms": None,
            "targets": 1,
            "counts": {},
            "tokens": (),
        }
        self.world.messages.receipts[message_id] = Receipt(message_id, **{**given, **more})

    def test_a_receipt_has_times_counts_and_tokens(self) -> None:
        self.add(
            expires_ms=30,
            due_ms=20,
            targets=3,
            counts={Event.CACHED: 2, Event.DELIVERED: 1},
            tokens=(
                TokenReceipt("a", Event.DELIVERED, 15),
                TokenReceipt("b", Event.CACHED, 11),
                TokenReceipt("c", None, 10),
            ),
        )
        self.assertEqual(
            self.world.call("GET", PATH).json,
            {
                "id": str(ID),
                "accepted": 10,
                "expires": 30,
                "due": 20,
                "logged": False,
                "targets": 3,
                "counts": {
                    "sent": 0,
                    "delivered": 1,
                    "expired": 0,
                    "cancelled": 0,
                    "replaced": 0,
                    "dropped": 0,
                    "cached": 2,
                    "rejected": 0,
                },
                "tokens": [
                    {"token": "a", "state": "delivered", "at": 15},
                    {"token": "b", "state": "cached", "at": 11},
                    {"token": "c", "state": "accepted", "at": 10},
                ],
            },
        )

    def test_times_that_there_are_not_are_left_out(self) -> None:
        self.add(is_logged=True)
        found = self.world.call("GET", PATH).json
        self.assertEqual((set(found) & {"expires", "due"}, found["logged"], found["tokens"]), (set(), True, []))

    def test_the_largest_id_there_can_be_is_one(self) -> None:
        self.add(2**64 - 1)
        self.assertEqual(self.world.call("GET", f"/v1/messages/{2**64 - 1}").json["id"], str(2**64 - 1))

    def test_a_message_that_is_not_known_is_404(self) -> None:
        for method, path in (("GET", PATH), ("DELETE", PATH)):
            reply = self.world.call(method, path)
            self.assertEqual((reply.status, reply.error["reason"]), (404, "NOT_FOUND"))

    def test_what_is_no_id_is_400(self) -> None:
        self.add()
        for text in ("0", "-1", f"0{ID}", f"+{ID}", f"{ID}.0", "1e3", "abc", str(2**64), "9" * 5_000, "%D9%A1", "1_0"):
            for method, suffix in (("GET", ""), ("DELETE", ""), ("GET", ":explain?token=a")):
                reply = self.world.call(method, f"/v1/messages/{text}{suffix}")
                self.assertEqual((reply.status, reply.error["field_violations"][0]["field"]), (400, "id"), text)

    def test_cancelling_says_for_how_many(self) -> None:
        self.add()
        self.world.messages.undelivered[ID] = 3
        for count in (3, 0):
            self.assertEqual(self.world.call("DELETE", PATH).json, {"id": str(ID), "cancelled": count})

    def test_explaining_says_so_in_sentences(self) -> None:
        reply = self.world.call("GET", f"{PATH}:explain?token=a%2Eb")
        sentences = ["The client is away.", "The message waits for it."]
        self.assertEqual(reply.json, {"id": str(ID), "token": "a.b", "explanation": sentences})
        self.assertEqual(self.world.messages.asked, [(ID, "a.b")])

    def test_explaining_takes_exactly_one_token(self) -> None:
        for query in ("", "?token=", "?token=%ff", "?token=a&token=b", "?token=" + "x" * 129, "?Token=a"):
            reply = self.world.call("GET", f"{PATH}:explain{query}")
            self.assertEqual((reply.status, reply.error["field_violations"][0]["field"]), (400, "token"), query)
        self.assertEqual(self.world.messages.asked, [])

    def test_looking_takes_the_right_to_read_and_cancelling_that_to_push(self) -> None:
        self.world = World(settings={"keys": (key("sender", "push"), key("viewer", "read"))})
        self.add()
        for method, path, allowed in (
            ("GET", PATH, "viewer"),
            ("GET", f"{PATH}:explain?token=a", "viewer"),
            ("DELETE", PATH, "sender"),
        ):
            for name in ("sender", "viewer"):
                status = self.world.call(method, path, None, bearer(name)).status
                self.assertEqual(status, 200 if name == allowed else 403, (method, path, name))

    def test_paths_beside_them_are_what_they_were(self) -> None:
        for method, path, status in (
            ("GET", "/v1/messages:send", 405),
            ("POST", PATH, 405),
            ("POST", f"{PATH}:explain", 405),
            ("GET", f"{PATH}:cancel", 404),
            ("GET", "/v1/messages/", 404),
        ):
            self.assertEqual(self.world.call(method, path).status, status, path)
