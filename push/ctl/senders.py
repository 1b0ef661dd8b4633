"""The senders of `pushctl verify`: each on a kept HTTP connection, in a thread, one request after the other.

Each has tokens of its own, so that the order in which messages to a token are accepted is the order of the answers.
Says everything to the ledger, in the event loop's thread.
"""

import asyncio
import functools
import json
import random
import uuid
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from push.ctl.api import Api, RefusedError, UnreachableError
from push.ctl.ledger import EVERYBODY, Ledger

# How long a sender waits when nobody answers, or when it was refused: a server that asks for more asks in vain, as this
# is a test.
PAUSE_S = 0.1
MISTAKE_S = 1.0
# Of a request without an answer, when the sending is over: enough for a server that is just starting again.
LAST_TRIES = 50
# Longer than any run: what is for everybody is kept only where a time is given.
BROADCAST_TTL_S = 86_400
_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Load:
    """What one sender sends.

    Attributes:
        rate: messages a second, greater than 0.
        broadcasts: the share of them that is for everybody, 0 to 1; of one sender only, for the sake of their order.
        max_batch: the most messages a request; 1: only single ones.
        size_bytes: the least length of a message.
        ttl_s: their time to live; None: the server's choice.
        store: of the API's options; None: the server's choice.
        retry: whether a request without an answer is made again, under the same name, until it has one.
    """

    rate: float
    broadcasts: float
    max_batch: int
    size_bytes: int
    ttl_s: int | None
    store: str | None
    retry: bool


@dataclass(slots=True)
class _Request:
    """Messages on their way: which they are, and what asks for them, under a name of its own."""

    name: str
    items: list[tuple[int, int]]
    path: str
    body: bytes


class Sender:
    """One sender.

    Args:
        api: where it sends.
        ledger: what it tells.
        tokens: of all receivers.
        tag: of all receivers.
        mine: the receivers that it alone sends to, by their numbers.
        load: how much.
        random: chooses receivers and sizes of batches.
        threads: to wait for answers in.
    """

    def __init__(
        self,
        api: Api,
        ledger: Ledger,
        *,
        tokens: Sequence[str],
        tag: str,
        mine: Sequence[int],
        load: Load,
        random: random.Random,
        threads: Executor,
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._tokens = tokens
        self._tag = tag
        self._mine = mine
        self._load = load
        self._random = random
        self._threads = threads
        self._connection: HTTPConnection | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop; a request that is on its way is waited for."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._random.random() / self._load.rate
        try:
            while not await _within(stop, due_s - loop.time()):
                if not await self._connected():
                    due_s = loop.time() + PAUSE_S
                    continue
                request = self._request(self._random.randint(1, self._load.max_batch))
                pause_s = await self._answer(request, stop)
                # What a server that was away has missed is not made up for.
                due_s = max(due_s + len(request.items) / self._load.rate, loop.time() + (pause_s or -PAUSE_S))
        finally:
            self._hang_up()

    async def _answer(self, request: _Request, stop: asyncio.Event) -> float:
        """Ask, again and again where that is wanted; when told to stop, a few times more.

        Returns:
            How long to leave the server alone, in seconds.
        """
        pause_s = await self._ask(request)
        left = LAST_TRIES
        while pause_s is None and self._load.retry and left:
            await asyncio.sleep(PAUSE_S)
            left -= stop.is_set()
            if await self._connected():
                pause_s = await self._ask(request, is_repeated=True)
        return PAUSE_S if pause_s is None else pause_s

    async def _connected(self) -> bool:
        """Whether there is a connection: before there is one, nothing is attempted."""
        if self._connection is None:
            connection = self._api.connection()
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, connection.connect)
            except OSError:
                return False
            connection.auto_open = 0
            self._connection = connection
        return True

    async def _ask(self, request: _Request, *, is_repeated: bool = False) -> float | None:
        """Ask once, and tell the ledger what was answered.

        Args:
            request: what to ask.
            is_repeated: whether it was made before: then a refusal says nothing of what became of it the first time.

        Returns:
            How long the server wants to be left alone, in seconds; None where it did not answer.
        """
        assert self._connection is not None
        further = {"Idempotency-Key": request.name} if self._load.retry else {}
        ask = functools.partial(self._api.ask, self._connection, "POST", request.path, request.body, further)
        try:
            reply = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except UnreachableError:  # it may have been accepted
            self._hang_up()
            return None
        except RefusedError as error:
            if error.status >= 500 and (is_repeated or (self._load.retry and not _is_refusal(error.status))):
                return None
            pause_s = self._refused(request, error)
        else:
            if self._load.retry and _is_open(reply, is_repeated=is_repeated):
                return None
            pause_s = self._answered(request, reply)
        if self._connection.sock is None:  # the server said that it was the last answer
            self._hang_up()
        return pause_s

    def _request(self, count: int) -> _Request:
        items, entries = [], []
        for _ in range(count):
            receiver = EVERYBODY if self._random.random() < self._load.broadcasts else self._random.choice(self._mine)
            number, text = self._ledger.attempt(receiver, self._load.size_bytes)
            items.append((receiver, number))
            options: dict[str, Any] = {"ttl": self._load.ttl_s, "store": self._load.store}
            target: dict[str, Any] = {"token": self._tokens[receiver]}
            if receiver == EVERYBODY:
                target = {"tags": {"any": [self._tag]}}
                options["ttl"] = BROADCAST_TTL_S
            given = {name: value for name, value in options.items() if value is not None}
            entries.append({"target": target, "message": {"data": text.decode()}, "options": given})
        if count == 1:
            return _Request(uuid.uuid4().hex, items, "/v1/messages:send", json.dumps(entries[0]).encode())
        return _Request(uuid.uuid4().hex, items, "/v1/messages:batchSend", json.dumps({"requests": entries}).encode())

    def _answered(self, request: _Request, reply: dict[str, Any]) -> float:
        results = [reply] if len(request.items) == 1 else reply.get("results")
        if not isinstance(results, list) or len(results) != len(request.items):
            return 0.0  # no answer that says anything
        pause_s = 0.0
        now_s = asyncio.get_running_loop().time()
        for (receiver, number), result in zip(request.items, results, strict=True):
            error = result.get("error")
            if error is None and result.get("rejected"):  # the token's cache is full
                self._ledger.refuse(receiver, number, "FULL")
            elif error is None:
                self._ledger.accept(receiver, number, int(result["id"]), now_s)
            elif _is_refusal(int(error["code"])):
                self._ledger.refuse(receiver, number, str(error["reason"]))
                pause_s = PAUSE_S
        return pause_s

    def _refused(self, request: _Request, error: RefusedError) -> float:
        if _is_refusal(error.status):
            for receiver, number in request.items:
                self._ledger.refuse(receiver, number, error.reason or str(error.status))
        return PAUSE_S if error.status >= 500 else MISTAKE_S

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_open(reply: dict[str, Any], *, is_repeated: bool) -> bool:
    """Whether it is not known of some entry what became of it; of one that is repeated, a refusal does not say it."""
    results = reply.get("results")
    errors = [result.get("error") for result in results] if isinstance(results, list) else []
    codes = [int(error["code"]) for error in errors if error is not None]
    return any(code >= 500 and (is_repeated or not _is_refusal(code)) for code in codes)


def _is_refusal(status: int) -> bool:
    """Whether nothing was accepted; of any other 5xx it is not known."""
    return status < 500 or status == _UNAVAILABLE


async def _within(event: asyncio.Event, delay_s: float) -> bool:
    """Wait for an event, but no longer than this. Returns whether it is set."""
    if delay_s > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), delay_s)
    else:
        await asyncio.sleep(0)
    return event.is_set()
