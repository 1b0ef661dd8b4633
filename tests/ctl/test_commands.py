"""pushctl against a small HTTP server: what it asks, what it prints, and its exit codes."""

import base64
import hashlib
import json
import re
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from unittest import TestCase, mock

from click.testing import CliRunner, Result

from push.ctl.api import Api, UnreachableError
from push.ctl.commands import pushctl

SENT = {"id": "123", "targets": 2, "sent": 1, "cached": 0, "unknown": []}


def _number(text: str) -> int | str:
    """A number as int() takes it, longer ones as they are."""
    return int(text) if len(text) < 1_000 else text


class Answering(BaseHTTPRequestHandler):
    """Answers each request with what the test laid out, and notes it."""

    answers: ClassVar[list[tuple[int, bytes]]]
    requests: ClassVar[list[tuple[str, str, Any, str | None]]]
    bodies: ClassVar[list[bytes]]
    names: ClassVar[list[str | None]]
    delay_s: ClassVar[float]

    def do_GET(self) -> None:
        """Any GET."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        authorization = self.headers.get("Authorization")
        self.bodies.append(body)
        self.names.append(self.headers.get("Idempotency-Key"))
        content = json.loads(body, parse_int=_number) if body else None
        self.requests.append((self.command, self.path, content, authorization))
        status, answer = self.answers.pop(0)
        time.sleep(self.delay_s)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class CtlCase(TestCase):
    """A server on a thread, and pushctl run in this process."""

    def setUp(self) -> None:
        """Start it."""
        Answering.answers, Answering.requests, Answering.bodies = [], [], []
        Answering.names = []
        Answering.delay_s = 0.0
        self.server = HTTPServer(("127.0.0.1", 0), Answering)
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def run_ctl(self, *arguments: str, answer: object = None, status: int = 200, data: bytes | None = None) -> Result:
        """Run pushctl; the server answers once with this."""
        Answering.answers[:] = [(status, json.dumps(answer).encode())]
        environment = {"PUSH_API_URL": self.url, "PUSH_API_KEY": "pk_secret"}
        return CliRunner(env=environment).invoke(pushctl, arguments, input=data)

    def assertSends(self, arguments: list[str], body: dict[str, Any], data: bytes | None = None) -> None:
        """That these arguments make this request."""
        result = self.run_ctl("send", *arguments, answer=SENT, data=data)
        self.assertEqual(result.exit_code, 0, result.output)
        request = Answering.requests.pop()
        self.assertEqual(request, ("POST", "/v1/messages:send", body, "Bearer pk_secret"))


class SendTests(CtlCase):
    """pushctl send."""

    def test_each_way_to_say_whom(self) -> None:
        message = {"data": "hello"}
        for arguments, target in (
            (["--token", "t"], {"token": "t"}),
            (["--token", "t", "--token", "u"], {"tokens": ["t", "u"]}),
            (["--uid", "a"], {"uid": "a"}),
            (["--uid", "a", "--uid", "b"], {"uids": ["a", "b"]}),
            (["--tag", "x", "--tag", "y"], {"tags": {"any": ["x", "y"]}}),
            (["--connector", "10.0.0.1:6789"], {"connector": "10.0.0.1:6789"}),
            (["--all"], {"all": True}),
        ):
            self.assertSends([*arguments, "hello"], {"target": target, "message": message})

    def test_each_way_to_say_what(self) -> None:
        everybody = {"all": True}
        self.assertSends(["--all", "-"], {"target": everybody, "message": {"data": "in\n"}}, b"in\n")
        raw = b"\xff\x00"
        encoded = {"data_base64": base64.b64encode(raw).decode()}
        self.assertSends(["--all", "-"], {"target": everybody, "message": encoded}, raw)
        self.assertSends(["--all", "--file", "-"], {"target": everybody, "message": encoded}, raw)
        path = Path(self.mktemp_file(b"from a file"))
        self.assertSends(["--all", "--file", str(path)], {"target": everybody, "message": {"data": "from a file"}})
        self.assertSends(
            ["--all", "--json-data", '{"a": [1, null]}'], {"target": everybody, "message": {"data": {"a": [1, None]}}}
        )

    def test_json_data_goes_out_as_it_was_written(self) -> None:
        for written in (
            '{"price": 1.00, "big": 1e400}',
            '["\U0001f600", "\\u00e9"]',
            '{"a":1,"a":2}',
            '{"n": ' + "9" * 5000 + "}",
            '"text"',
            "null",
        ):
            with self.subTest(written[:40]):
                result = self.run_ctl("send", "--all", "--json-data", "--ttl", "5", f" {written}\n", answer=SENT)
                self.assertEqual(result.exit_code, 0, result.output)
                self.assertIn(b'"message": {"data": ' + written.encode() + b"}", Answering.bodies[-1])
                self.assertIn(b'"ttl": 5', Answering.bodies[-1])

    def mktemp_file(self, content: bytes) -> str:
        """A file with this content, which goes away with the test."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name) / "payload"
        path.write_bytes(content)
        return str(path)

    def test_options_go_along(self) -> None:
        self.assertSends(
            ["--all", "--ttl", "60", "--validate-only", "x"],
            {"target": {"all": True}, "message": {"data": "x"}, "options": {"ttl": 60}, "validate_only": True},
        )
        for arguments, options in (
            (["--collapse-key", "k"], {"collapse_key": "k"}),
            (["--priority", "high"], {"priority": "high"}),
            (["--deliver-at", "2027-01-31T08:00:00.125+01:00"], {"deliver_at": 1_801_378_800_125}),
            (["--deliver-at", "2027-01-31T07:00:00Z"], {"deliver_at": 1_801_378_800_000}),
            (["--store", "always"], {"store": "always"}),
            (["--on-full", "drop_oldest"], {"on_full": "drop_oldest"}),
            (["--wait", "2.5"], {"wait": "delivered", "wait_timeout": 2.5}),
            (["--ttl", "0", "--store", "never"], {"ttl": 0, "store": "never"}),
        ):
            self.assertSends(
                ["--uid", "a", *arguments, "x"], {"target": {"uid": "a"}, "message": {"data": "x"}, "options": options}
            )

    def test_it_is_as_patient_as_it_asks_the_server_to_be(self) -> None:
        Answering.delay_s = 0.3
        with mock.patch("push.ctl.messages.TIMEOUT_S", 0.1):
            self.assertEqual(self.run_ctl("send", "--all", "x", answer=SENT).exit_code, 3)
            self.assertEqual(self.run_ctl("send", "--all", "--wait", "10", "x", answer=SENT).exit_code, 0)

    def test_a_name_goes_along_as_a_header(self) -> None:
        self.assertEqual(self.run_ctl("send", "--all", "x", answer=SENT).exit_code, 0)
        self.assertEqual(self.run_ctl("send", "--all", "--idempotency-key", "a/1", "x", answer=SENT).exit_code, 0)
        self.assertEqual(Answering.names, [None, "a/1"])

    def test_it_says_what_became_of_it(self) -> None:
        result = self.run_ctl("send", "--all", "x", answer={**SENT, "cached": 1, "unknown": ["gone"]})
        self.assertEqual(result.stdout, "message 123: sent to 1 of 2, kept for 1\nnot registered: gone\n")
        for more, said in (
            ({"rejected": 1}, "message 123: sent to 1 of 2, no room for 1"),
            ({"logged": True}, "message 123: sent to 1 of 2, kept for who comes"),
            ({"cached": 1, "delivered": 0}, "message 123: sent to 1 of 2, kept for 1, delivered to 0"),
            ({"due": 1_801_378_800_125}, "message 123: will be sent to 2 at 2027-01-31 07:00:00Z"),
        ):
            result = self.run_ctl("send", "--all", "x", answer={**SENT, **more})
            self.assertEqual(result.stdout, f"{said}\n")
        result = self.run_ctl("send", "--all", "--validate-only", "x", answer=SENT)
        self.assertEqual(result.stdout, "nothing sent: it would go to 2\n")
        result = self.run_ctl("send", "--all", "--json", "x", answer=SENT)
        self.assertEqual(json.loads(result.stdout), SENT)

    def test_wrong_usage_is_2_and_asks_nothing(self) -> None:
        for arguments in (
            ["x"],
            ["--all", "--token", "t", "x"],
            ["--all"],
            ["--all", "--file", "-", "x"],
            ["--all", "--json-data", "{"],
            ["--all", "--json-data", "NaN"],
            ["--all", "--json-data", "-Infinity"],
            ["--all", "--json-data", '1}, "target": {"all": true'],
            ["--all", "--json-data", "\xa01"],
            ["--all", "--json-data", ""],
            ["--all", "--json-data", "[" * 100_000],
            ["--all", "--file", "/nonexistent", "x"],
            ["--all", "--api", "ftp://h", "x"],
            ["--all", "--api", "http://h:x", "x"],
            ["--all", "--key", "line\nbreak", "x"],
            ["--all", "--ttl", "-1", "x"],
            ["--all", "--priority", "urgent", "x"],
            ["--all", "--deliver-at", "tomorrow", "x"],
            ["--all", "--deliver-at", "2027-01-31T08:00:00", "x"],
            ["--all", "--deliver-at", "9999-12-31T23:59:59-23:59\x1b", "x"],
            ["--all", "--wait", "0", "x"],
            ["--all", "--wait", "61", "x"],
            ["--all", "--idempotency-key", "line\nbreak", "x"],
            ["--all", "--idempotency-key", "\xfc", "x"],
        ):
            with self.subTest(arguments):
                result = self.run_ctl("send", *arguments, answer=SENT)
                self.assertEqual(result.exit_code, 2, result.output)
                self.assertNotIn("pk_secret", result.output)
                self.assertNotIn("line\nbreak", result.output)
        self.assertEqual(Answering.requests, [])


class RefusalTests(CtlCase):
    """What the server does not like is 1; what is not there is 3."""

    def test_a_refusal_says_why_in_two_lines(self) -> None:
        error = {
            "code": 400,
            "reason": "INVALID_ARGUMENT",
            "message": "The request is wrong.",
            "field_violations": [{"field": "options.ttl", "message": "too large"}, {"field": "x", "message": "y"}],
            "retry": "no",
            "request_id": "r1",
        }
        result = self.run_ctl("send", "--all", "x", answer={"error": error}, status=400)
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.stderr,
            "pushctl: The request is wrong. (INVALID_ARGUMENT)\npushctl: options.ttl: too large; x: y\n",
        )
        self.assertNotIn("pk_secret", result.output)

    def test_what_the_sentence_says_already_is_not_said_again(self) -> None:
        violation = {"field": "options.ttl", "message": "too large"}
        error = {"reason": "X", "message": "options.ttl: too large.", "field_violations": [violation]}
        result = self.run_ctl("nodes", answer={"error": error}, status=400)
        self.assertEqual(result.stderr, "pushctl: options.ttl: too large. (X)\n")

    def test_what_a_terminal_would_obey_is_written_out(self) -> None:
        error = {"reason": "X", "message": "\x1b[2Jgone\n"}
        result = self.run_ctl("nodes", answer={"error": error}, status=500)
        self.assertEqual(result.stderr, "pushctl: \\x1b[2Jgone\\n (X)\n")

    def test_an_answer_that_is_not_the_apis_is_a_refusal(self) -> None:
        for answer in ([], {"error": "text"}, {"error": {"field_violations": 5}}, None):
            result = self.run_ctl("stats", answer=answer, status=502)
            self.assertEqual(result.exit_code, 1, result.output)
            self.assertIn("502", result.stderr)

    def test_nobody_there_is_3(self) -> None:
        with HTTPServer(("127.0.0.1", 0), Answering) as closed:
            url = f"http://127.0.0.1:{closed.server_port}"
        for command in (["nodes"], ["stats"], ["send", "--all", "x"]):
            result = CliRunner().invoke(pushctl, [*command, "--api", url])
            self.assertEqual(result.exit_code, 3)
            self.assertEqual(result.stderr, f"pushctl: cannot reach {url}: Connection refused\n")

    def test_a_host_that_cannot_be_is_unreachable(self) -> None:
        self.assertRaises(UnreachableError, Api("http://" + "x" * 70, None).get, "/")


class ShowingTests(CtlCase):
    """pushctl nodes and pushctl stats."""

    def test_nodes_are_a_table(self) -> None:
        node = {
            "address": "10.0.0.1:6789",
            "connections": 5,
            "sessions": 4,
            "max_connections": 100_000,
            "started": 1_700_000_000_000,
            "draining": True,
            "version": "0.1.0",
        }
        result = self.run_ctl("nodes", answer={"nodes": [node]})
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertRegex(result.stdout, r"10\.0\.0\.1:6789 +4 +5 +100000 +draining +0\.1\.0 +2023-11-14 22:13:20Z")
        self.assertEqual(Answering.requests, [("GET", "/v1/nodes", None, "Bearer pk_secret")])
        self.assertEqual(
            json.loads(self.run_ctl("nodes", "--json", answer={"nodes": [node]}).stdout), {"nodes": [node]}
        )

    def test_nodes_that_share_an_address_are_told_apart(self) -> None:
        nodes = [{"address": "10.0.0.1:6789", "name": f"10.0.0.1:6789#{number}"} for number in (1, 2)]
        shown = self.run_ctl("nodes", answer={"nodes": nodes}).stdout
        self.assertRegex(shown, r"(?s)10\.0\.0\.1:6789#1 .*10\.0\.0\.1:6789#2 ")

    def test_nodes_that_do_not_answer_are_named(self) -> None:
        result = self.run_ctl("nodes", answer={"nodes": [], "unreachable": ["10.0.0.2:6789"]})
        self.assertEqual(result.stdout, "no connector is up\nno answer from: 10.0.0.2:6789\n")

    def test_no_node_is_said(self) -> None:
        self.assertEqual(self.run_ctl("nodes", answer={"nodes": []}).stdout, "no connector is up\n")

    def test_stats_are_names_and_numbers(self) -> None:
        histogram = {"bounds_s": [1.0], "counts": [3, 1], "total_s": 2.0}
        samples = [
            {"name": "sent_total", "labels": {"target": "all", "outcome": "sent"}, "value": 7},
            {"name": "delay_seconds", "labels": {}, "value": histogram},
            {"name": "idle_seconds", "labels": {}, "value": {**histogram, "counts": [0, 0]}},
            {"name": "odd", "value": {"counts": None}},
        ]
        result = self.run_ctl("stats", answer={"uptime_s": 5.5, "samples": samples})
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(
            [re.split(r"  +", line) for line in result.stdout.splitlines()],
            [
                ["uptime_s", "5.5"],
                ["sent_total{target=all, outcome=sent}", "7"],
                ["delay_seconds", "4, 500.000 ms each"],
                ["idle_seconds", "0"],
                ["odd", "{'counts': None}"],
            ],
        )

    def test_strange_values_are_shown_as_they_are(self) -> None:
        result = self.run_ctl("nodes", answer={"nodes": [{"started": "x"}, {"started": 1e300}, 5]})
        self.assertEqual(result.exit_code, 0, result.output)


class KeyTests(TestCase):
    """pushctl key."""

    def test_a_key_and_the_setting_that_admits_it(self) -> None:
        result = CliRunner().invoke(pushctl, ["key", "--name", "backend", "--rights", "push,read"])
        self.assertEqual(result.exit_code, 0, result.output)
        found = re.search(r"^  (pk_[A-Za-z0-9_-]{43})$", result.stdout, re.MULTILINE)
        assert found is not None
        digest = hashlib.sha256(found.group(1).encode()).hexdigest()
        self.assertIn(f"\n  backend:push+read:{digest}\n", result.stdout)
        self.assertEqual(result.stdout.count(found.group(1)), 1)

    def test_no_two_keys_are_alike(self) -> None:
        outputs = {CliRunner().invoke(pushctl, ["key", "--name", "a"]).stdout for _ in range(3)}
        self.assertEqual(len(outputs), 3)

    def test_bad_names_and_rights_are_2(self) -> None:
        for name, rights in (("a:b", "push"), ("", "push"), ("a", "fly"), ("a", ""), ("a" * 65, "push")):
            result = CliRunner().invoke(pushctl, ["key", "--name", name, "--rights", rights])
            self.assertEqual(result.exit_code, 2, result.output)
