"""Where to connect, and draining, on a server of one host, from outside: its only place is not drained."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import WireClient
from tests.integration.server import HOST, ROOT, Server, environment, running, started


def pushctl(server: Server, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run pushctl against a server."""
    return subprocess.run(
        [sys.executable, "-c", "from push.ctl.main import main; main()", *arguments],
        env=environment(PUSH_API_URL=f"http://{HOST}:{server.api.port}"),
        cwd=os.fspath(ROOT),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class PlacesTests(SynchronousTestCase):
    """A server with one connector, and one with workers, which are one place."""

    def check(self, server: Server) -> None:
        """It names itself, and is not emptied; and pushctl says so."""
        place = {"nodes": [{"host": HOST, "port": server.port}]}
        self.assertEqual(server.api.get("/v1/allocate").json, place)
        name = f"{HOST}:{server.port}"
        refused = pushctl(server, "drain", name)
        self.assertEqual((refused.returncode, refused.stdout), (1, ""))
        self.assertIn("no connector at another address takes sessions", refused.stderr)
        self.assertEqual(server.api.post(f"/v1/nodes/{name}:drain", {}).status, 409)
        self.assertEqual(server.api.post("/v1/nodes/10.9.9.9:1:drain", {}).status, 404)
        self.assertEqual(pushctl(server, "drain", name, "--undo").returncode, 0)
        with WireClient(server.port) as client:
            token = client.open(uid="alice").token
            self.assertRegex(pushctl(server, "where", token).stdout, rf"^online at {name}\S* since .*, user alice\n")
        self.assertEqual(pushctl(server, "where", "nobody").returncode, 1)

    def test_one_process(self) -> None:
        with started(self.mktemp()) as server:
            self.check(server)

    def test_workers(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        server = Server(directory, ("--workers", "2"))
        server.transport = "lean"
        with running(server):
            self.check(server.start())
