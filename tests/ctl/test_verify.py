"""pushctl verify against a small server, good and bad: what it finds, what it prints, and its exit codes."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import TestCase

from click.testing import CliRunner, Result

import aio_sdk
from push.ctl.commands import pushctl
from push.ctl.ledger import Ledger
from push.ctl.receivers import Chance, Receiver
from tests.ctl.small_server import SmallServer

PROGRAM = [sys.executable, "-c", "from push.ctl.main import main; main()", "verify"]
SHORT = ["--seconds=0.6", "--rate=600", "--tokens=6", "--senders=3", "--seed=7", "--settle=0.6"]
# Often enough that each kind of going away happens within the half second.
BUSY = ["--churn=1", "--online=0.1", "--away=0.05"]


def arguments(server: SmallServer, *more: str) -> list[str]:
    """The command's arguments."""
    return [f"--server={server.url}", f"--api={server.api}", *SHORT, *more]


def verify(server: SmallServer, *more: str) -> Result:
    """Run it in this process."""
    return CliRunner().invoke(pushctl, ["verify", *arguments(server, *more)])


class JudgementTests(TestCase):
    """The good are let go, and each fault is found."""

    def judged(self, fault: str, *more: str) -> tuple[int, dict[str, Any]]:
        """Exit code and what was found."""
        with SmallServer(fault) as server:
            result = verify(server, "--json", *more)
        self.assertEqual(result.stdout.count("\n"), 1, result.output)
        return result.exit_code, json.loads(result.stdout)

    def test_a_server_that_keeps_its_promises_is_found_good_while_receivers_come_and_go(self) -> None:
        code, found = self.judged("", *BUSY)
        self.assertEqual((code, found["faults"], found["ok"]), (0, {}, True), found)
        self.assertGreater(found["accepted"], 100)
        self.assertEqual(found["delivered"], found["accepted"])
        self.assertGreater(found["sessions"], 2 * 6)  # to register and to stay
        self.assertGreater(found["unknown"], 0)
        self.assertGreater(found["refused"]["UNAVAILABLE"], 0)
        self.assertEqual(
            found["attempted"], found["accepted"] + found["unknown"] + sum(found["refused"].values()), found
        )

    def test_each_fault_has_its_name(self) -> None:
        for fault, name in (
            ("forget", "lost"),
            ("swap", "out_of_order"),
            ("double", "doubled"),
            ("another token", "misdelivered"),
            ("shrink ids", "shrunk_ids"),
        ):
            with self.subTest(fault):
                code, found = self.judged(fault, "--churn=0")
                self.assertEqual(code, 1, found)
                self.assertIn(name, found["faults"], found)
                self.assertFalse(found["ok"])

    def test_what_was_refused_may_come_but_not_where_it_is_stored_first(self) -> None:
        code, found = self.judged("refuse but keep", "--churn=0")
        self.assertEqual((code, found["faults"]), (0, {}), found)
        self.assertGreater(found["refused_delivered"], 0)
        code, found = self.judged("refuse but keep", "--churn=0", "--store=always")
        self.assertEqual((code, list(found["faults"])), (1, ["refused_delivered"]), found)

    def test_repeats_that_the_sdk_drops_are_found_all_the_same(self) -> None:
        code, found = self.judged("repeat", "--churn=0")
        self.assertEqual((code, found["duplicated"], list(found["faults"])), (1, 0, ["again"]), found)
        self.assertEqual(found["repeated"], found["again"])

    def test_with_names_every_request_gets_its_answer_and_nothing_is_sent_twice(self) -> None:
        code, found = self.judged("", "--retry", *BUSY)
        self.assertEqual((code, found["unknown"], found["faults"]), (0, 0, {}), found)
        self.assertEqual(found["refused_delivered"], 0)
        code, found = self.judged("unanswered", "--retry", *BUSY)
        self.assertEqual((code, found["unknown"], found["faults"]), (0, 0, {}), found)
        code, found = self.judged("unanswered", *BUSY)
        self.assertEqual((code, found["faults"]), (0, {}), found)
        self.assertGreater(found["delivered_unknown"], 0)
        code, found = self.judged("forget names", "--retry", *BUSY)
        self.assertEqual((code, list(found["faults"])), (1, ["doubled"]), found)

    def test_what_did_not_come_in_time_is_forgiven_unless_the_server_knows_better(self) -> None:
        code, found = self.judged("forget", "--churn=0", "--ttl=0", "--retry")
        self.assertEqual((code, list(found["faults"])), (1, ["lost"]), found)
        self.assertGreater(found["expired"], 10)
        self.assertEqual({int(item["id"]) // 7 % 4 for item in found["faults"]["lost"]}, {3})
        code, found = self.judged("forget", "--churn=0", "--ttl=60")
        self.assertEqual(found["expired"], 0)

    def test_what_is_for_everybody_must_come_to_each(self) -> None:
        code, found = self.judged("", "--broadcasts=50", "--rate=50", *BUSY)
        self.assertEqual((code, found["faults"]), (0, {}), found)
        self.assertGreater(found["accepted"], 6 * 15)
        code, found = self.judged("forget", "--broadcasts=50", "--rate=1", "--churn=0")
        self.assertEqual((code, list(found["faults"])), (1, ["lost"]), found)
        lost = [item for item in found["faults"]["lost"] if item["broadcast"]]
        self.assertEqual(len({item["token"] for item in lost}), 1)

    def test_receivers_ask_where_to_connect_each_time(self) -> None:
        with SmallServer() as server:
            where = ["--server=push://127.0.0.1:1", f"--allocation={server.api}/v1/allocate"]
            result = verify(server, "--json", *BUSY, *where)
        found = json.loads(result.stdout)
        self.assertEqual((result.exit_code, found["faults"]), (0, {}), found)
        self.assertGreater(found["sessions"], 3 * 6)

    def test_single_messages_and_long_ones(self) -> None:
        code, found = self.judged("", "--batch=1", "--size=2000", "--ttl=60", "--senders=64")
        self.assertEqual((code, found["faults"]), (0, {}), found)
        self.assertGreater(found["accepted"], 50)


class ReceiverTests(TestCase):
    """One receiver."""

    def test_it_is_there_though_messages_to_all_were_lost(self) -> None:
        receiver = Receiver(
            "push://127.0.0.1:1", Ledger("1", 1), 0, allocation=None, auth=None, tag="t",
            chance=Chance(random.Random(7), online_s=1.0, away_s=1.0), calm=asyncio.Event(),
        )  # fmt: skip
        address = aio_sdk.Address("h", 1, False)
        receiver._on_status(aio_sdk.Open(address, "t", 60.0))
        receiver._on_status(aio_sdk.Missed(address, "some were lost"))
        self.assertEqual((receiver.is_open, receiver.openings), (True, 1))


class OutputTests(TestCase):
    """What people and programs read."""

    def test_the_lost_are_named_and_all_of_them_are_in_the_report(self) -> None:
        with SmallServer("forget") as server, TemporaryDirectory() as directory:
            path = Path(directory) / "report.json"
            result = verify(server, "--churn=0", f"--report={path}")
            report = json.loads(path.read_text())
        self.assertEqual(result.exit_code, 1)
        lost = report["faults"]["lost"]
        self.assertEqual(len(lost), report["lost"])
        self.assertGreater(len(lost), 20)
        self.assertEqual({int(item["id"]) % 7 for item in lost}, {0})
        named = [item for item in lost if f"message {item['id']} " in result.stdout]
        self.assertEqual(named, lost[:20])
        self.assertIn(f"  lost{len(lost):>17}\n", result.stdout)
        self.assertIn(f"… and {len(lost) - 20} more", result.stdout)
        self.assertTrue(result.stdout.endswith("FAILED: lost\n"), result.stdout)
        self.assertIn("--seed 7\n", result.stdout)

    def test_the_good_end_with_ok(self) -> None:
        with SmallServer() as server:
            result = verify(server)
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("\nok: ", result.stdout)
        self.assertNotIn("FAULT", result.stdout)

    def test_the_key_goes_along_and_is_not_shown(self) -> None:
        with SmallServer() as server:
            result = verify(server, "--key=pk_secret", "--auth=jwt_secret", "--json")
        self.assertEqual((result.exit_code, server.headers), (0, {"Bearer pk_secret"}), result.output)
        self.assertNotIn("secret", result.output)

    def test_progress_goes_to_stderr_and_an_interrupt_ends_the_sending_and_not_the_verdict(self) -> None:
        with SmallServer() as server:
            command = [*PROGRAM, *arguments(server, "--seconds=600")]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment())
            assert process.stderr is not None
            line = process.stderr.readline().decode()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        self.assertRegex(line, r"^- +\d+ s: \d+ attempted, \d+ accepted, .* of 6 receivers open\n$")
        self.assertEqual((process.returncode, err.count(b"Traceback")), (0, 0), err)
        self.assertIn(b"\nok: ", out)


class ExitCodeTests(TestCase):
    """2 for wrong usage, 3 for nobody there, 1 for what proves nothing."""

    def test_wrong_usage_is_2(self) -> None:
        for wrong in (
            ["--tokens=0"],
            ["--rate=0"],
            ["--churn=2"],
            ["--rate=1e6", "--seconds=1e6"],
            ["--server=http://h"],
            ["--api=ftp://h"],
            ["--size=70000"],
        ):
            with self.subTest(wrong):
                self.assertEqual(CliRunner().invoke(pushctl, ["verify", *wrong]).exit_code, 2)

    def test_receivers_that_are_refused_are_1(self) -> None:
        with SmallServer(refuse=401) as server:
            result = verify(server)
        self.assertEqual(result.exit_code, 1)
        self.assertIn("does not want these receivers", result.stderr)

    def test_nobody_there_is_3(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        command = [*PROGRAM, f"--server=push://127.0.0.1:{port}", "--tokens=1"]
        result = subprocess.run(command, capture_output=True, timeout=60, env=_environment(), check=False)
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn(b"cannot connect", result.stderr)

    def test_where_nobody_answers_the_api_nothing_is_proved(self) -> None:
        with SmallServer() as server:
            server.api = "http://127.0.0.1:9"
            result = verify(server)
        self.assertEqual(result.exit_code, 1)
        self.assertIn("FAILED: nothing was accepted", result.stdout)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
