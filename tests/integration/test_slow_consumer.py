"""A client that does not read, among others that do."""

import threading

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import WireClient
from tests.integration.server import Server, started

MESSAGES = 400
PAYLOAD_BYTES = 30_000
READERS = 3


class SlowConsumerTests(SynchronousTestCase):
    """It is closed; nobody else notices."""

    def test_a_client_that_never_reads_is_closed_while_others_get_everything_in_order(self) -> None:
        with started(self.mktemp(), "--max-outbox-bytes=200000", "--close-timeout-s=1") as server:
            slow = WireClient(server.port, receive_buffer_bytes=4096).open(uid="slow")
            readers = [WireClient(server.port).open(uid="quick") for _ in range(READERS)]
            got: list[list[bytes]] = [[] for _ in readers]
            threads = [
                threading.Thread(target=self._read, args=(reader, payloads), daemon=True)
                for reader, payloads in zip(readers, got, strict=True)
            ]
            for thread in threads:
                thread.start()
            sent = [b"%06d" % number + bytes(PAYLOAD_BYTES) for number in range(MESSAGES)]
            for number, payload in enumerate(sent):
                self._push(server, number, payload)
            for thread in threads:
                thread.join()
            self.assertEqual(got, [sent] * READERS)
            self.assertEqual(self._closes(server), 1)
            payloads, said = slow.until_closed()
            slow.close()
            self.assertEqual(payloads, sent[: len(payloads)])
            self.assertLess(len(payloads), MESSAGES)
            self.assertTrue(said is None or (said.code, said.retry) == (3003, "backoff"))
            self.assertEqual(server.api.sample("push_outbox_bytes"), 0)
            for reader in readers:
                reader.close()
            self.assertEqual(server.stop(), 0)
            self.assertNotIn("Traceback", server.output())

    def test_a_client_that_reads_again_in_time_keeps_its_connection(self) -> None:
        options = ("--max-outbox-bytes=100000000", "--max-outbox-messages=100000")
        with (
            started(self.mktemp(), *options) as server,
            WireClient(server.port, receive_buffer_bytes=4096) as client,
        ):
            client.open(uid="slow")
            sent = [b"%06d" % number + bytes(PAYLOAD_BYTES) for number in range(MESSAGES)]
            for number, payload in enumerate(sent):
                self._push(server, number, payload)
            self.assertGreater(server.api.sample("push_outbox_bytes"), 1_000_000)
            self.assertEqual(client.messages(MESSAGES), sent)
            self.assertEqual(server.api.sample("push_outbox_bytes"), 0)

    @staticmethod
    def _push(server: Server, number: int, payload: bytes) -> None:
        """By broadcast and to one after the other: both must be in one order."""
        if number % 2:
            answer = server.api.request("POST", "/push/sendToAll", payload)
        else:
            data = payload.decode()
            answer = server.api.post(
                "/v1/messages:send", {"target": {"uids": ["quick", "slow"]}, "message": {"data": data}}
            )
            if answer.status == 400:
                raise AssertionError(answer.body)
        if answer.status != 200:
            raise AssertionError(answer.body)

    @staticmethod
    def _read(reader: WireClient, payloads: list[bytes]) -> None:
        payloads += reader.messages(MESSAGES)

    @staticmethod
    def _closes(server: Server) -> float:
        return server.api.sample('push_closes_total{by="server",code="3003"}')
