"""Nothing accepted is lost, in order, whichever of a server's processes dies: workers, or the one that holds the cache.

PUSH_FAULT_KILLS says how many processes are killed, PUSH_FAULT_SEED repeats the choices of another run.
`make faults` kills 50.
"""

import contextlib
import os
import signal
import time

from tests.integration.server import Server, marked
from tests.integration.test_faults import KILLS, LOAD, TOKENS, FaultCase
from tests.integration.test_workers import with_workers, workers
from tests.integration.verifier import verifying
from tests.integration.waiting import wait_until

# Of four processes that are killed, one is the parent, with all that is in its memory.
PARENT = 0.25


class WorkerKillTests(FaultCase):
    """kill -9 of a worker or of its parent, again and again, under load."""

    def test_what_was_accepted_arrives_whichever_process_is_killed(self) -> None:
        with (
            with_workers(self.mktemp()) as server,
            verifying(server, *LOAD, "--broadcasts=2") as plain,
            verifying(server, *LOAD, "--churn=1", "--retry") as insistent,
        ):
            for _ in range(KILLS):
                time.sleep(self.chance.uniform(0.2, 1.5))
                if self.chance.random() < PARENT:
                    self.kill_parent(server)
                else:
                    self.kill_worker(server)
            before = plain.accepted()
            wait_until("messages are accepted again", lambda: plain.accepted() > before)
            verifiers = (plain, insistent)
            for verifier in verifiers:
                verifier.stop_sending()
            verdicts = [verifier.verdict() for verifier in verifiers]
            for verifier, verdict in zip(verifiers, verdicts, strict=True):
                self.assertProved(verdict, verifier.report)
                self.assertGreater(verdict["sessions"], TOKENS)
                self.assertGreater(verdict["accepted"], KILLS * 50)
        self.assertEqual([verdict["expired"] for verdict in verdicts], [0, 0])
        self.assertEqual((verdicts[1]["unknown"], verdicts[1]["refused_delivered"]), (0, 0))

    def kill_worker(self, server: Server) -> None:
        """Kill one that is there: the place of one that has just died may be empty for a while."""
        there = wait_until("there is a worker", lambda: workers(server))
        with contextlib.suppress(ProcessLookupError):
            os.kill(there[self.chance.choice(sorted(there))], signal.SIGKILL)

    def kill_parent(self, server: Server) -> None:
        """Kill the process that holds router and cache, and start the server again."""
        self.assertEqual(server.stop(signal.SIGKILL), -signal.SIGKILL)
        wait_until("the workers are gone, too", lambda: not marked(server.mark))
        server.start()
