"""`pushctl verify`: senders and receivers against a live server, and what the ledger makes of them.

Everything random comes from one seed; what the server and the network do in between does not.
"""

import asyncio
import math
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aio_sdk
from push.ctl.api import Api, RefusedError, UnreachableError
from push.ctl.expired import expired
from push.ctl.ledger import Ledger
from push.ctl.receivers import Chance, Receiver, troubles
from push.ctl.report import Report
from push.ctl.senders import Load, Sender

# How long it may take to open so many sessions before the server counts as unreachable.
_OPEN_S, _OPEN_EACH_S = 5.0, 0.02
_OPENING_AT_ONCE = 100
# Late second copies are waited for, when nothing is missing any more.
_GRACE_S = 0.5
_LOOK_S = 0.05
# What the ledger keeps of them is some 4 GB.
MAX_MESSAGES = 10_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        server: where clients connect, as the SDKs say it.
        allocation: whom they ask where to connect; None: nobody.
        auth: the credential of the receivers, where the server demands one.
        tokens: how many receivers.
        senders: how many at the same time.
        rate: messages a second in all.
        broadcasts: messages a second for all receivers, 0 for none.
        batch: the most messages a request.
        size_bytes: the least length of a message.
        ttl_s: their time to live; None: the server's choice.
        store: of the API's options; None: the server's choice.
        retry: whether a request without an answer is made again, under the same name, until it has one.
        seconds: how long to send.
        settle_s: with nothing new for so long, what is missing then is lost.
        churn: the share of receivers that go away and come back, 0 to 1.
        online_s: how long these stay, on average.
        away_s: how long they are away, on average.
        seed: of all that is random.
    """

    server: str
    allocation: str | None
    auth: str | None
    tokens: int
    senders: int
    rate: float
    broadcasts: float
    batch: int
    size_bytes: int
    ttl_s: int | None
    store: str | None
    retry: bool
    seconds: float
    settle_s: float
    churn: float
    online_s: float
    away_s: float
    seed: int

    def __post_init__(self) -> None:
        if (self.rate + self.broadcasts * self.tokens) * self.seconds > MAX_MESSAGES:
            raise ValueError(f"--rate, --broadcasts and --seconds must come to at most {MAX_MESSAGES:,} messages")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a run.

    Attributes:
        run: which.
        plan: what was done.
        took_s: how long it took, in seconds.
        report: the books.
        tokens: of the receivers.
        sessions: how many they have opened.
        offline: how many receivers had no session at the end, so that nothing could come to them.
        troubles: what ended clients: sentence → how often.
    """

    run: str
    plan: Plan
    took_s: float
    report: Report
    tokens: tuple[str, ...]
    sessions: int
    offline: int
    troubles: Counter[str]


class Run:
    """One run.

    Args:
        plan: what to do.
        api: of the server.
        tell: takes a line of progress each second.

    Raises:
        ValueError: there is no such server address, or no such credential.
    """

    def __init__(self, plan: Plan, api: Api, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._api = api
        self._tell = tell
        # Two runs with one seed are two runs: the messages of the first may still be on their way.
        self._name = random.SystemRandom().randbytes(6).hex()
        self._tag = f"verify-{self._name}"
        self._ledger = Ledger(self._name, plan.tokens, store_first=plan.store == "always")
        self._stop = asyncio.Event()
        self._calm = asyncio.Event()
        self._hurry = False
        self._receivers = [self._receiver(number) for number in range(plan.tokens)]
        self._began_s = 0.0
        self._receivers[0].client()

    async def verify(self) -> Verdict:
        """Do it.

        Raises:
            UnreachableError: there is no server to begin with.
            RefusedError: the server does not want these receivers.
        """
        loop = asyncio.get_running_loop()
        self._began_s = loop.time()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted)
        await self._register()
        async with _running(self._progress(), *(receiver.run() for receiver in self._receivers)):
            await self._all_there()
            await self._send()
            self._calm.set()
            await self._settle()
            await self._forgive_expired()
            offline = sum(not receiver.is_open for receiver in self._receivers)
        return Verdict(
            self._name,
            self._plan,
            loop.time() - self._began_s,
            self._ledger.report(),
            tuple(receiver.token for receiver in self._receivers),
            sum(receiver.openings for receiver in self._receivers),
            offline,
            troubles(self._receivers),
        )

    def _interrupted(self) -> None:
        """End the sending; a second time, the waiting for what is missing too."""
        self._hurry = self._stop.is_set()
        self._stop.set()

    def _receiver(self, number: int) -> Receiver:
        plan = self._plan
        chance = random.Random(f"{plan.seed}/receiver/{number}")  # noqa: S311
        goes_away = chance.random() < plan.churn
        return Receiver(
            plan.server,
            self._ledger,
            number,
            allocation=plan.allocation,
            auth=plan.auth,
            tag=self._tag,
            chance=Chance(chance, online_s=plan.online_s if goes_away else math.inf, away_s=plan.away_s),
            calm=self._calm,
        )

    async def _register(self) -> None:
        gate = asyncio.Semaphore(_OPENING_AT_ONCE)

        async def register(receiver: Receiver) -> None:
            async with gate:
                await receiver.register()

        try:
            async with (
                asyncio.timeout(_OPEN_S + _OPEN_EACH_S * len(self._receivers)),
                _running(*map(register, self._receivers)) as opening,
            ):
                await asyncio.gather(*opening)
        except TimeoutError:
            why = next((receiver.why_not for receiver in self._receivers if receiver.why_not), "no answer")
            raise UnreachableError(f"no session with {self._plan.server}: {why}") from None
        except aio_sdk.ClientError as error:
            raise RefusedError(403, "", f"{self._plan.server} does not want these receivers: {error}") from None

    async def _all_there(self) -> None:
        """Wait until every receiver has opened the session in which it is to get messages."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_S):
                while any(receiver.openings < 2 for receiver in self._receivers):
                    await asyncio.sleep(_LOOK_S)

    async def _send(self) -> None:
        plan = self._plan
        count = min(plan.senders, plan.tokens)
        with ThreadPoolExecutor(count, "sender") as threads:
            senders = [
                self._sender(range(number, plan.tokens, count), 0.0 if number else plan.broadcasts, threads)
                for number in range(count)
            ]
            asyncio.get_running_loop().call_later(plan.seconds, self._stop.set)
            async with asyncio.TaskGroup() as group:
                for sender in senders:
                    group.create_task(sender.run(self._stop))

    def _sender(self, mine: Sequence[int], broadcasts: float, threads: Executor) -> Sender:
        plan = self._plan
        rate = plan.rate / min(plan.senders, plan.tokens) + broadcasts
        load = Load(
            rate=rate,
            broadcasts=broadcasts / rate,
            max_batch=plan.batch,
            size_bytes=plan.size_bytes,
            ttl_s=plan.ttl_s,
            store=plan.store,
            retry=plan.retry,
        )
        return Sender(
            self._api,
            self._ledger,
            tokens=[receiver.token for receiver in self._receivers],
            tag=self._tag,
            mine=mine,
            load=load,
            random=random.Random(f"{plan.seed}/sender/{mine[0]}"),  # noqa: S311
            threads=threads,
        )

    async def _settle(self) -> None:
        """Wait until nothing is missing, or nothing new has come for long enough."""
        loop = asyncio.get_running_loop()
        arrived, since_s = self._ledger.arrived, loop.time()
        while self._ledger.missing and loop.time() - since_s < self._plan.settle_s and not self._hurry:
            await asyncio.sleep(_LOOK_S)
            if self._ledger.arrived != arrived:
                arrived, since_s = self._ledger.arrived, loop.time()
        await asyncio.sleep(min(_GRACE_S, self._plan.settle_s))

    async def _forgive_expired(self) -> None:
        """Ask of what is missing, and past its time, whether it has expired."""
        if self._plan.ttl_s is None:
            return
        late = self._ledger.overdue(asyncio.get_running_loop().time() - self._plan.ttl_s)
        if late:
            gone = await expired(self._api, [item.message_id for item in late], self._plan.settle_s)
            for item in late:
                if item.message_id in gone:
                    self._ledger.expire(item)

    async def _progress(self) -> None:
        while True:
            await asyncio.sleep(1)
            ledger = self._ledger
            took_s = asyncio.get_running_loop().time() - self._began_s
            is_open = sum(receiver.is_open for receiver in self._receivers)
            self._tell(
                f"{took_s:4.0f} s: {ledger.attempted} attempted, {ledger.accepted} accepted, {ledger.refused} refused, "
                f"{ledger.arrived} arrived, {ledger.missing} on their way, {ledger.repeated} repeated, "
                f"{is_open} of {len(self._receivers)} receivers open"
            )


@asynccontextmanager
async def _running(*work: Coroutine[object, object, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run these beside what is inside, and end them with it; what one of them raised is raised at the end."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield tasks
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
