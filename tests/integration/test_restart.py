"""What survives: orderly ends, kills, and starts that must be refused."""

import asyncio
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from aio_sdk import PushClient
from aio_sdk.settings import Tuning
from tests.integration.client import WireClient
from tests.integration.server import HOST, Server, running, started
from tests.integration.waiting import wait_until

CLIENTS = 20


class OrderlyEndTests(SynchronousTestCase):
    """SIGTERM and SIGINT."""

    def test_clients_are_told_to_come_back_each_at_its_own_time(self) -> None:
        with started(self.mktemp(), "--stop-spread-s=30") as server:
            clients = [WireClient(server.port).open() for _ in range(CLIENTS)]
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            said = []
            for client in clients:
                with client:
                    said.append(client.disconnected())
            self.assertEqual(server.ended(), 0)
            self.assertEqual({(each.code, each.retry) for each in said}, {(3000, "backoff")})
            waits_s = [each.retry_after_s for each in said if each.retry_after_s is not None]
            self.assertEqual(len(set(waits_s)), CLIENTS)
            self.assertTrue(all(0 <= wait_s <= 30 for wait_s in waits_s))
            self.assertGreater(max(waits_s) - min(waits_s), 5)
            self.assertNotIn("Traceback", server.output())

    def test_what_is_queued_is_written_before_the_goodbye(self) -> None:
        with (
            started(self.mktemp(), "--max-outbox-bytes=100000000", "--max-outbox-messages=10000") as server,
            WireClient(server.port, receive_buffer_bytes=4096) as client,
        ):
            client.open()
            sent = [f"{number:06}".encode() + bytes(50_000) for number in range(200)]
            for payload in sent:
                server.api.request("POST", "/push/sendToAll", payload)
            self.assertGreater(server.api.sample("push_outbox_bytes"), 1_000_000)
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            got, said = client.until_closed()
            client.close()
            self.assertEqual(server.ended(), 0)
            self.assertEqual(got, sent)
            self.assertIsNotNone(said)
            self.assertEqual(said and said.code, 3000)

    def test_a_client_that_does_not_hang_up_is_cut_off(self) -> None:
        with started(self.mktemp(), "--stop-timeout-s=0.2") as server, WireClient(server.port) as client:
            client.open()
            self.assertEqual(server.stop(), 0)
            self.assertEqual(client.until_closed()[0], [])

    def test_who_waits_for_a_delivery_is_answered_at_once(self) -> None:
        message = {
            "target": {"token": "away"},
            "message": {"data": "hello"},
            "options": {"wait": "delivered", "wait_timeout": 60},
        }
        with started(self.mktemp()) as server, ThreadPoolExecutor(1) as threads:
            with WireClient(server.port) as client:
                client.open(token="away")
            waiting = threads.submit(server.api.post, "/v1/messages:send", message)
            wait_until("it waits", lambda: server.api.sample("push_receipt_waiters") == 1)
            start_s = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - start_s, 4)
            answer = waiting.result()
            self.assertEqual((answer.status, answer.json["cached"], answer.json["delivered"]), (200, 1, 0))

    def test_interrupted_and_impatient_ends_are_clean_too(self) -> None:
        with started(self.mktemp()) as server:
            assert server.process is not None
            for _ in range(3):
                server.process.send_signal(signal.SIGTERM)
                server.process.send_signal(signal.SIGINT)
            self.assertEqual(server.ended(), 0)
            self.assertNotIn("Traceback", server.output())
            left = sorted(path.name for path in (server.directory / "data").iterdir())
            self.assertEqual(left, ["lock", "push.sqlite3"])


class RememberingTests(SynchronousTestCase):
    """A second start finds everything, however the first ended."""

    def test_everything_is_found_after_an_orderly_end(self) -> None:
        self._check_remembers(signal.SIGTERM, 0)

    def test_everything_is_found_after_a_kill(self) -> None:
        self._check_remembers(signal.SIGKILL, -signal.SIGKILL)

    def _check_remembers(self, number: int, code: int) -> None:
        with started(self.mktemp()) as server:
            ids = []
            with WireClient(server.port) as client:
                client.open(uid="alice", tags=("news", "beta"), device='{"platform":"test"}')
                token = client.token
                before = server.api.token(token)
                ids += [int(server.api.send({"token": token}, "x")["id"]) for _ in range(3)]
                self.assertEqual(client.messages(3), [b"x"] * 3)
            wait_until("the session is closed", lambda: not server.api.token(token)["online"])
            self.assertEqual(server.stop(number), code)
            server.start()
            after = server.api.token(token)
            self.assertIs(after["online"], False)
            for name in ("uid", "tags", "device"):
                self.assertEqual(after[name], before[name])
            self.assertEqual((after["uid"], sorted(after["tags"])), ("alice", ["beta", "news"]))
            away = server.api.send({"token": token}, "while away")
            self.assertEqual((away["sent"], away["cached"]), (0, 1))
            ids.append(int(away["id"]))
            with WireClient(server.port) as client:
                client.open(token=token)
                for target in ({"token": token}, {"uid": "alice"}, {"tags": {"all": ["news", "beta"]}}):
                    reply = server.api.send(target, "back")
                    self.assertEqual(reply["sent"], 1)
                    ids.append(int(reply["id"]))
                self.assertEqual(client.messages(4), [b"while away", *[b"back"] * 3])
            self.assertEqual(ids, sorted(set(ids)))
            self.assertEqual(server.stop(), 0)
            self.assertNotIn("Traceback", server.output())

    def test_an_asyncio_client_comes_back_by_itself_with_its_token(self) -> None:
        with started(self.mktemp(), "--stop-spread-s=0") as server:
            token_file = server.directory / "token"
            self.assertEqual(asyncio.run(self._stay(server, token_file)), ["before", "after stop", "after kill"])

    async def _stay(self, server: Server, token_file: Path) -> list[str]:
        got = []
        async with (
            asyncio.timeout(120),
            PushClient(
                f"push://{HOST}:{server.port}", uid="dave", token_file=token_file, tuning=Tuning(first_delay_s=0.05)
            ) as client,
        ):
            messages = aiter(client)
            token = await client.wait_open()
            await asyncio.to_thread(server.api.send, {"token": token}, "before")
            got.append((await anext(messages)).text)
            for number, text in ((signal.SIGTERM, "after stop"), (signal.SIGKILL, "after kill")):
                await asyncio.to_thread(server.stop, number)
                await asyncio.to_thread(server.start)
                await asyncio.to_thread(wait_until, "it is back", lambda: server.api.token(token)["online"])
                self.assertEqual(await client.wait_open(), token)
                await asyncio.to_thread(server.api.send, {"token": token}, text)
                got.append((await anext(messages)).text)
        return got


class RefusedStartTests(SynchronousTestCase):
    """What keeps a server from starting is one line on stderr."""

    def test_a_second_server_on_the_same_data_is_refused(self) -> None:
        with started(self.mktemp()) as server:
            second = Server(server.directory)
            with running(second):
                code, output = second.run()
            self.assertEqual(code, 1)
            self._check_one_line(output, str(server.directory / "data"))
            self.assertEqual(server.api.get("/readyz").status, 200)

    def test_a_port_in_use_is_refused_and_leaves_no_pid_file(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        with socket.socket() as taken:
            taken.bind((HOST, 0))
            taken.listen()
            for name in ("port", "api"):
                server = Server(directory, twistd=("--nodaemon", "--pidfile=push.pid"))
                if name == "port":
                    server.port = taken.getsockname()[1]
                else:
                    server.api.port = taken.getsockname()[1]
                with running(server):
                    code, output = server.run()
                self.assertEqual(code, 1)
                self._check_one_line(output, "Address already in use")
                self.assertFalse((directory / "push.pid").exists())

    def test_a_data_directory_that_cannot_be_is_refused(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        (directory / "data").write_text("a file")
        server = Server(directory)
        with running(server):
            code, output = server.run()
        self.assertEqual(code, 1)
        self._check_one_line(output, str(directory / "data"))

    def _check_one_line(self, output: str, part: str) -> None:
        self.assertNotIn("Traceback", output)
        lines = [line for line in output.splitlines() if line.startswith("push: ")]
        self.assertEqual(len(lines), 1, output)
        self.assertIn(part, lines[0])
        self.assertEqual(output.count(lines[0][len("push: ") :]), 1, output)
