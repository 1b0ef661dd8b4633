"""A server with several worker processes: all of its clients are served, and no process dies unnoticed."""

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.protocols.peer.link import PULSE_INTERVAL_S, PULSE_LIMIT_S
from tests.integration.client import WireClient
from tests.integration.server import Server, marked, running
from tests.integration.waiting import wait_until

CLIENTS = 24


@contextmanager
def with_workers(directory: str | Path, *options: str, count: int = 2) -> Iterator[Server]:
    """A server with workers that is ready, in a new directory."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    server = Server(directory, [f"--workers={count}", "--stop-spread-s=0", *options])
    server.transport = "lean"
    with running(server):
        yield server.start()


def workers(server: Server) -> dict[str, int]:
    """The worker processes: name → process id."""
    found = {}
    for pid in marked(server.mark):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"push.worker" in words:
            found[words[-2].decode()] = pid
    return found


def sessions(server: Server) -> dict[str, int]:
    """Sessions by the name of the worker that holds them."""
    return {node["name"]: node["sessions"] for node in server.api.get("/v1/nodes").json["nodes"]}


class WorkersCase(SynchronousTestCase):
    """Clients that are closed at the end."""

    def setUp(self) -> None:
        self._stack = ExitStack()
        self.addCleanup(self._stack.close)

    def client(self, server: Server, **sub: Any) -> WireClient:
        """A client with a session."""
        return self._stack.enter_context(WireClient(server.port)).open(**sub)

    def clients(self, server: Server, count: int = CLIENTS, **sub: Any) -> list[WireClient]:
        """Several clients; the system spreads them over the workers."""
        clients = [self.client(server, **sub) for _ in range(count)]
        self.assertTrue(all(sessions(server).values()), "all clients came to the same worker")
        return clients

    def by_worker(self, server: Server, clients: Sequence[WireClient]) -> dict[str, list[WireClient]]:
        """The clients by the name of the worker that they are connected to."""
        found: dict[str, list[WireClient]] = {}
        for client in clients:
            found.setdefault(server.api.token(client.token)["connector"], []).append(client)
        return found


class DeliveryTests(WorkersCase):
    """Messages reach clients wherever they are."""

    def test_every_kind_of_message_reaches_clients_on_all_workers_in_order(self) -> None:
        with with_workers(self.mktemp()) as server:
            clients = self.clients(server, uid="alice", tags=("news",))
            for client in clients:
                self.assertEqual(server.api.send({"token": client.token}, client.token)["sent"], 1)
            targets: list[dict[str, object]] = [
                {"tokens": [client.token for client in clients]},
                {"uid": "alice"},
                {"tags": {"all": ["news"]}},
                {"all": True},
                {"connector": f"127.0.0.1:{server.port}"},
            ]
            for number, target in enumerate(targets):
                self.assertEqual(server.api.send(target, f"m{number}")["sent"], CLIENTS)
            for client in clients:
                expected = [client.token.encode(), *(b"m%d" % number for number in range(len(targets)))]
                self.assertEqual(client.messages(len(expected)), expected)
            name, held = next(iter(self.by_worker(server, clients).items()))
            self.assertEqual(server.api.send({"connector": name}, "some")["sent"], len(held))
            self.assertEqual([client.message() for client in held], [b"some"] * len(held))

    def test_a_session_that_comes_to_another_worker_closes_the_old_one(self) -> None:
        with with_workers(self.mktemp()) as server:
            old = self.client(server)
            home = server.api.token(old.token)["connector"]

            def moved() -> WireClient | None:
                new = self.client(server, token=old.token)
                return new if server.api.token(old.token)["connector"] != home else None

            # Every attempt replaces the one before it, here or there.
            new = wait_until("a session is on the other worker", moved)
            self.assertEqual(old.disconnected().code, 3500)
            self.assertEqual(server.api.send({"token": new.token}, "here")["sent"], 1)
            self.assertEqual(new.message(), b"here")
            self.assertEqual(sum(sessions(server).values()), 1)

    def test_numbers_are_those_of_all_workers(self) -> None:
        with with_workers(self.mktemp()) as server:
            self.clients(server)
            wait_until("the numbers are there", lambda: server.api.get("/v1/stats").json["sessions"] == CLIENTS)
            self.assertEqual(server.api.sample("push_workers"), 2)
            for name, count in sessions(server).items():
                self.assertEqual(server.api.sample(f'push_sessions{{node="{name}"}}'), count)

    def test_clients_are_told_one_address(self) -> None:
        with with_workers(self.mktemp()) as server:
            nodes = server.api.get("/v1/nodes").json["nodes"]
            self.assertEqual({node["address"] for node in nodes}, {f"127.0.0.1:{server.port}"})
            self.assertEqual(len({node["name"] for node in nodes}), 2)
            # Connectors are asked once a second how they are.
            told = lambda: str(server.api.get("/manager/redirect").json).count(str(server.port))  # noqa: E731
            wait_until("it is known how they are", lambda: told() > 0)
            self.assertEqual(told(), 1)


class DeathTests(WorkersCase):
    """Processes die."""

    def test_a_killed_worker_is_replaced_and_its_clients_are_served_again(self) -> None:
        with with_workers(self.mktemp()) as server:
            clients = self.clients(server)
            held = self.by_worker(server, clients)
            name = sorted(held)[0]
            os.kill(workers(server)[name], signal.SIGKILL)
            for client in held[name]:
                self.assertIsNone(client.until_closed()[1])
                wait_until("it is offline", lambda client=client: not server.api.token(client.token)["online"], 5)
                away = server.api.send({"token": client.token}, "while away")
                self.assertEqual((away["sent"], away["cached"]), (0, 1))
            for other in (client for each in held if each != name for client in held[each]):
                self.assertEqual(server.api.send({"token": other.token}, "still here")["sent"], 1)
                self.assertEqual(other.message(), b"still here")
            for client in held[name]:  # they come back, to whoever is there
                again = self.client(server, token=client.token)
                self.assertEqual(server.api.send({"token": again.token}, "again")["sent"], 1)
                self.assertEqual(again.messages(2), [b"while away", b"again"])
            wait_until("it is started again", lambda: server.api.sample("push_worker_starts_total") == 3)
            wait_until("it serves clients again", lambda: server.api.sample("push_workers") == 2)
            self.assertEqual(len(workers(server)), 2)
            self.assertIn("was killed by signal 9", server.output())
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.output().count("was killed by signal 9"), 1)

    def test_a_frozen_worker_is_noticed_and_replaced(self) -> None:
        with with_workers(self.mktemp()) as server:
            clients = self.clients(server)
            name, held = next(iter(self.by_worker(server, clients).items()))
            pid = workers(server)[name]
            os.kill(pid, signal.SIGSTOP)
            wait_until("its clients are offline", lambda: not server.api.token(held[0].token)["online"], 15)
            wait_until("it is gone", lambda: pid not in marked(server.mark), 15)
            server.wait_ready()
            self.assertEqual(server.stop(), 0)

    def test_a_parent_that_was_frozen_goes_on_with_its_workers(self) -> None:
        with with_workers(self.mktemp()) as server:
            clients = self.clients(server)
            before = workers(server)
            os.kill(server.pid, signal.SIGSTOP)
            # Longer than anybody's patience with a worker; nothing is to be seen meanwhile that could be waited for.
            time.sleep(PULSE_INTERVAL_S + PULSE_LIMIT_S + 3)
            os.kill(server.pid, signal.SIGCONT)
            for client in clients:
                self.assertEqual(server.api.send({"token": client.token}, "still here")["sent"], 1)
                self.assertEqual(client.message(), b"still here")
            self.assertEqual(workers(server), before)

    def test_workers_do_not_outlive_their_parent(self) -> None:
        with with_workers(self.mktemp()) as server:
            clients = self.clients(server)
            server.stop(signal.SIGKILL)
            for client in clients:
                self.assertEqual(client.disconnected().code, 3000)
                client.close()
            wait_until("the workers are gone", lambda: not marked(server.mark), 30)
            server.start()  # and the port is free again
            self.assertEqual(len(workers(server)), 2)

    def test_a_frozen_worker_does_not_outlive_its_parent_for_long(self) -> None:
        with with_workers(self.mktemp(), "--stop-timeout-s=0") as server:
            pid = next(iter(workers(server).values()))
            os.kill(pid, signal.SIGSTOP)
            server.stop(signal.SIGKILL)
            os.kill(pid, signal.SIGCONT)
            wait_until("the workers are gone", lambda: not marked(server.mark), 30)

    def test_a_stop_says_goodbye_to_all_clients_and_leaves_nothing(self) -> None:
        with with_workers(self.mktemp()) as server:
            clients = self.clients(server)
            server.process.terminate()  # type: ignore[union-attr]
            for client in clients:
                self.assertEqual(client.disconnected().code, 3000)
                client.close()
            self.assertEqual(server.ended(), 0)
            self.assertEqual(marked(server.mark), [])
            self.assertNotIn("Traceback", server.output())
            self.assertNotIn("#error", server.output())
            self.assertFalse(any((server.directory / "data" / "run").glob("*")))


class StartTests(WorkersCase):
    """How workers are started."""

    def test_their_secrets_are_in_no_command_line_and_no_environment(self) -> None:
        with with_workers(self.mktemp()) as server:
            for pid in workers(server).values():
                shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
                self.assertIsNone(re.search(rb"[0-9a-f]{64}", shown))
            run = server.directory / "data" / "run"
            self.assertEqual(run.stat().st_mode & 0o777, 0o700)
            self.assertEqual((run / "peer.sock").stat().st_mode & 0o777, 0o600)

    def test_a_data_directory_with_a_very_long_path_will_do(self) -> None:
        directory = Path(self.mktemp()).joinpath(*["d" * 60] * 3)
        with with_workers(directory) as server:
            client = self.client(server)
            self.assertEqual(server.api.send({"token": client.token}, "hi")["sent"], 1)
            self.assertEqual(server.stop(), 0)

    def test_a_port_that_another_server_shares_among_its_own_is_refused(self) -> None:
        with with_workers(self.mktemp()) as server:
            second = Server(Path(self.mktemp()), ["--workers=2"])
            second.directory.mkdir()
            second.transport, second.port = "lean", server.port
            with running(second):
                code, output = second.run()
            self.assertEqual(code, 1)
            self.assertIn("Address already in use", output)
            self.assertNotIn("Traceback", output)

    def test_an_endpoint_that_cannot_be_shared_is_refused(self) -> None:
        for transport, port, part in (("tcp", 6789, "cannot be shared"), ("lean", 0, "names no port")):
            server = Server(Path(self.mktemp()), ["--workers=2"])
            server.directory.mkdir()
            server.transport, server.port = transport, port
            with running(server):
                code, output = server.run()
            self.assertEqual(code, 1)
            self.assertIn(part, output)
