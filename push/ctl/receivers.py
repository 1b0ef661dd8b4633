"""The receivers of `pushctl verify`: aio_sdk clients that keep their tokens, and go away and come back by chance.

What comes over the wire is read beside the SDK, so that the ledger knows of what the SDK drops.
"""

import asyncio
import math
import random
import ssl
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import cast

import aio_sdk
from aio_sdk import PushClient, Surroundings, Tuning
from aio_sdk.settings import Streams
from push.ctl.ledger import Ledger
from push.protocols.wire.frames import ID, ID_BYTES, FrameDecoder
from push.protocols.wire.signals import Signal, SubSignal
from push_client.allocation import parse_allocation

# Comes back sooner than a device would: the server that it waits for has been killed on purpose.
TUNING = Tuning(first_delay_s=0.05, max_delay_s=1.0, close_timeout_s=0.5)
_CRASHED_S = 0.02
# Between clients that the server does not want.
_UNWANTED_S = 0.5


class Chance:
    """When a receiver goes away, how, and for how long; from a seed.

    Args:
        random: this receiver's own.
        online_s: how long it stays, on average; infinite: for ever.
        away_s: how long it is away, on average.
    """

    WAYS = ("cut", "leave", "crash")

    def __init__(self, random: random.Random, *, online_s: float, away_s: float) -> None:
        self._random = random
        self._online_s = online_s
        self._away_s = away_s

    def stay_s(self) -> float | None:
        """How long to stay; None: for ever."""
        if math.isinf(self._online_s):
            return None
        return self._random.expovariate(1 / self._online_s)

    def way(self) -> str:
        """Cut: the connection breaks. Leave: it says goodbye. Crash: it is gone, and forgets what it had seen."""
        return self._random.choice(self.WAYS)

    def away_s(self) -> float:
        """For how long it has left."""
        return self._random.uniform(0, 2 * self._away_s)


class TappedReader:
    """A stream as the SDK reads it, with the ledger listening.

    Args:
        reader: the stream.
        ledger: is told of each message.
        receiver: whose connection it is.
    """

    def __init__(self, reader: asyncio.StreamReader, ledger: Ledger, receiver: int) -> None:
        self._reader = reader
        self._ledger = ledger
        self._receiver = receiver
        self._decoder = FrameDecoder(TUNING.max_body_bytes)

    async def read(self, size: int) -> bytes:
        """Read as the stream does."""
        data = await self._reader.read(size)
        for frame in self._decoder.feed(data):
            if frame.signal == Signal.PUSH and frame.subsignal == SubSignal.MN and len(frame.body) > ID_BYTES:
                self._ledger.came(self._receiver, ID.unpack_from(frame.body)[0], frame.body[ID_BYTES:])
        return data


class Receiver:
    """One token and the clients that it has, one after the other.

    Args:
        url: of the server.
        ledger: what it tells.
        number: its own.
        allocation: an HTTP URL to ask where to connect, or None.
        auth: the credential, where the server demands one.
        tag: what it can be addressed by, with all the others.
        chance: when it goes away.
        calm: set when nobody is to go away any more, and all are to come back.

    Attributes:
        token: its token, "" before its first session.
        is_open: whether it has a session now.
        openings: how many it has had.
        why_not: why it had none the last time that it had none.
        troubles: what ended clients that should have lived on: sentence → how often.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        number: int,
        *,
        allocation: str | None,
        auth: str | None,
        tag: str,
        chance: Chance,
        calm: asyncio.Event,
    ) -> None:
        self._url = url
        self._ledger = ledger
        self._number = number
        self._allocation = allocation
        self._asked = None if allocation is None else parse_allocation(allocation)
        self._auth = auth
        self._tag = tag
        self._chance = chance
        self._calm = calm
        self._writer: asyncio.StreamWriter | None = None
        self.token = ""
        self.is_open = False
        self.openings = 0
        self.why_not = ""
        self.troubles: Counter[str] = Counter()

    def client(self) -> PushClient:
        """Make its next client.

        Raises:
            ValueError: the address or the credential cannot be.
        """
        return PushClient(
            self._url,
            token=self.token or None,
            allocation=self._allocation,
            auth=self._auth,
            tags=[self._tag],
            tuning=TUNING,
            on_status=self._on_status,
            surroundings=Surroundings(connect=self._connect),
        )

    async def register(self) -> None:
        """Open a first session, for a token.

        Raises:
            ClientError: the server refuses.
        """
        async with self.client() as client:
            self.token = await client.wait_open()

    async def run(self) -> None:
        """Receive until cancelled."""
        while True:
            try:
                way = await self._stay()
            except aio_sdk.ClientError as error:
                self.troubles[str(error)] += 1
                await asyncio.sleep(_UNWANTED_S)
                continue
            if way == "leave":
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._calm.wait(), self._chance.away_s())
            else:
                await asyncio.sleep(_CRASHED_S)

    async def _stay(self) -> str:
        """Be one client for a while. Returns the way in which it went."""
        async with self.client() as client:
            reading = asyncio.create_task(self._read(client))
            try:
                while True:
                    stay_s = None if self._calm.is_set() else self._chance.stay_s()
                    done, _ = await asyncio.wait([reading], timeout=stay_s)
                    if done:
                        reading.result()
                        return "leave"
                    if self._calm.is_set():
                        continue
                    way = self._chance.way()
                    if way != "leave":
                        self._cut()
                    if way != "cut":  # a client whose connection breaks comes back by itself
                        return way
            finally:
                reading.cancel()
                await asyncio.wait([reading])

    async def _read(self, client: PushClient) -> None:
        async for message in client:
            if message.id is not None:
                self._ledger.deliver(self._number, message.id, message.data)

    async def _connect(self, host: str, port: int, *, ssl: ssl.SSLContext | None) -> Streams:
        reader, writer = await asyncio.open_connection(host, port, ssl=ssl)
        if self._asked is not None and (host, port) == (self._asked.host, self._asked.port):
            return reader, writer  # to ask where to connect: no session
        self._writer = writer
        self._ledger.opened(self._number)
        return cast(asyncio.StreamReader, TappedReader(reader, self._ledger, self._number)), writer

    def _cut(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    def _on_status(self, status: aio_sdk.Status) -> None:
        if isinstance(status, aio_sdk.Missed):  # the session goes on
            return
        self.is_open = isinstance(status, aio_sdk.Open)
        self.openings += self.is_open
        if isinstance(status, aio_sdk.Lost | aio_sdk.Rejected):
            self.why_not = status.reason


def troubles(receivers: Iterable[Receiver]) -> Counter[str]:
    """What went wrong with all of them."""
    found: Counter[str] = Counter()
    for receiver in receivers:
        found.update(receiver.troubles)
    return found
