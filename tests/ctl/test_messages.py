"""pushctl message: what it asks, and what it makes of the answers."""

import json
from typing import Any

from tests.ctl.test_commands import Answering, CtlCase

ID = "118236469293744128"
LIFE: dict[str, Any] = {
    "id": ID,
    "accepted": 1_700_000_000_000,
    "expires": 1_700_086_400_000,
    "logged": False,
    "targets": 2,
    "counts": {"sent": 0, "delivered": 1, "cached": 2},
    "tokens": [
        {"token": "a", "state": "delivered", "at": 1_700_000_001_000},
        {"token": "b", "state": "cached", "at": 1_700_000_000_000},
    ],
}


class MessageTests(CtlCase):
    """Asking what became of a message."""

    def asked(self) -> tuple[str, str]:
        """Method and path of the one request."""
        (request,) = Answering.requests
        Answering.requests.clear()
        self.assertEqual(request[3], "Bearer pk_secret")
        return request[0], request[1]

    def test_show_says_when_how_many_and_for_whom(self) -> None:
        result = self.run_ctl("message", "show", ID, answer=LIFE)
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(
            [line.split() for line in result.stdout.splitlines()],
            [
                f"message {ID}: accepted 2023-11-14 22:13:20Z, kept until 2023-11-15 22:13:20Z".split(),
                ["for", "2:", "delivered", "1,", "cached", "2"],
                ["token", "state", "since"],
                ["a", "delivered", "2023-11-14", "22:13:21Z"],
                ["b", "cached", "2023-11-14", "22:13:20Z"],
            ],
        )
        self.assertEqual(self.asked(), ("GET", f"/v1/messages/{ID}"))

    def test_what_is_not_there_is_not_shown(self) -> None:
        life = {
            "id": ID,
            "accepted": 1_700_000_000_000,
            "due": 1_700_000_060_000,
            "targets": 5_000,
            "counts": {"sent": 0},
        }
        self.assertEqual(
            self.run_ctl("message", "show", ID, answer=life).stdout,
            f"message {ID}: accepted 2023-11-14 22:13:20Z, to be sent 2023-11-14 22:14:20Z\n"
            "for 5000: nothing has happened yet\n",
        )

    def test_strange_answers_are_shown_without_what_a_terminal_would_obey(self) -> None:
        for answer in (
            {},
            {"counts": 5, "tokens": {}, "targets": []},
            {"accepted": "x", "expires": 1e300, "tokens": [5, {"at": None, "token": "\x1b[2J"}]},
        ):
            result = self.run_ctl("message", "show", ID, answer=answer)
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertNotIn("\x1b", result.stdout)

    def test_cancel_says_for_how_many(self) -> None:
        for count, said in ((3, "taken back for 3"), (0, "there is nothing left to take back")):
            result = self.run_ctl("message", "cancel", ID, answer={"id": ID, "cancelled": count})
            self.assertEqual((result.exit_code, result.stdout), (0, f"message {ID}: {said}\n"))
            self.assertEqual(self.asked(), ("DELETE", f"/v1/messages/{ID}"))

    def test_explain_says_the_sentences(self) -> None:
        answer = {"id": ID, "token": "a b&c", "explanation": ["It waits.", "The client\nis away."]}
        result = self.run_ctl("message", "explain", ID, "--token", "a b&c", answer=answer)
        self.assertEqual((result.exit_code, result.stdout), (0, "It waits.\nThe client\\nis away.\n"))
        self.assertEqual(self.asked(), ("GET", f"/v1/messages/{ID}:explain?token=a+b%26c"))
        self.assertEqual(self.run_ctl("message", "explain", ID, "--token", "a", answer={}).stdout, "")

    def test_each_prints_the_answer_itself_as_json(self) -> None:
        for arguments in (["show", ID], ["cancel", ID], ["explain", ID, "--token", "a"]):
            result = self.run_ctl("message", *arguments, "--json", answer=LIFE)
            self.assertEqual(json.loads(result.stdout), LIFE)

    def test_what_is_typed_stays_in_its_place_of_the_path(self) -> None:
        error = {"error": {"reason": "INVALID_ARGUMENT", "message": "id: is no id."}}
        for typed, path in (
            ("../nodes", "/v1/messages/..%2Fnodes"),
            ("1?x#y", "/v1/messages/1%3Fx%23y"),
            ("1:explain", "/v1/messages/1%3Aexplain"),
        ):
            result = self.run_ctl("message", "show", typed, answer=error, status=400)
            self.assertEqual((result.exit_code, result.stderr), (1, "pushctl: id: is no id. (INVALID_ARGUMENT)\n"))
            self.assertEqual(self.asked(), ("GET", path))

    def test_wrong_usage_is_2_and_asks_nothing(self) -> None:
        for arguments in (["show"], ["cancel"], ["explain", ID], ["show", ID, ID], ["recall", ID]):
            self.assertEqual(self.run_ctl("message", *arguments, answer=LIFE).exit_code, 2)
        self.assertEqual(Answering.requests, [])
