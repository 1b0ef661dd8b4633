"""Requests of the chat and their answers, over connections that come and go."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from aio_sdk.waiting import Clock, expire, first
from push.protocols.wire.client import Answered
from push_client.chat import ChatError, read_answer, request

REQUEST_TIMEOUT_S = 20.0
# Between the loss of a connection and its end.
_PAUSE_S = 0.05
# A server that says that it cannot now is asked again so often, after so long, unless it says how long.
_ATTEMPTS = 10
_AGAIN_S = 0.5


class Connection(Protocol):
    """What is needed of a connection."""

    @property
    def is_open(self) -> bool:
        """Whether its session is open."""
        ...

    def request(self, subsignal: int, body: bytes) -> int:
        """Ask; the message id of the answer."""
        ...


class _Lost(Exception):
    """The connection ended before the answer came."""


class Requests:
    """What one client asks.

    Args:
        current: the connection that there is, if any.
        wait_open: waits until a session is open; raises what ended the client.
        clock: for the time limits.
    """

    def __init__(
        self, current: Callable[[], Connection | None], wait_open: Callable[[], Awaitable[str]], *, clock: Clock
    ) -> None:
        self._current = current
        self._wait_open = wait_open
        self._clock = clock
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def ask(
        self, subsignal: int, fields: Mapping[str, object], *, again: bool = False, patiently: bool = False
    ) -> dict[str, Any]:
        """Ask, when there is a session, and wait for the answer.

        Args:
            subsignal: what it is about.
            fields: those that are None are left out.
            again: once more where the connection was lost before the answer came, or the server cannot now: it may be
                done twice.
            patiently: once more, too, where too much was asked, as often as it takes: where no application waits.

        Raises:
            ChatError: the server refused, or did not answer in time.
        """
        body = request(fields)
        attempts = 0
        while True:
            try:
                return await self._ask(subsignal, body)
            except _Lost:
                if not again:
                    raise ChatError(503, "the connection was lost: it may have been done") from None
            except ChatError as error:
                if not (patiently and error.status == 429):
                    attempts += 1
                    if not again or error.status != 503 or attempts >= _ATTEMPTS:
                        raise
                await self._clock.sleep(error.retry_after_s or _AGAIN_S)

    async def _ask(self, subsignal: int, body: bytes) -> dict[str, Any]:
        while True:
            await self._wait_open()
            connection = self._current()
            if connection is not None and connection.is_open:
                break
            await self._clock.sleep(_PAUSE_S)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        try:
            self._answers[connection.request(subsignal, body)] = answer
        except RuntimeError as error:
            raise ChatError(429, str(error)) from None
        try:
            return await first(_awaited(answer), expire(self._clock, REQUEST_TIMEOUT_S, "no answer in time"))
        except TimeoutError as error:
            raise ChatError(503, str(error)) from None

    def answered(self, event: Answered) -> None:
        """An answer came."""
        answer = self._answers.pop(event.frame.message_id, None)
        if answer is None or answer.done():
            return
        try:
            answer.set_result(read_answer(event.frame))
        except ChatError as error:
            answer.set_exception(error)

    def lost(self) -> None:
        """The connection is gone, and the answers with it."""
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(_Lost())


async def _awaited(answer: "asyncio.Future[dict[str, Any]]") -> dict[str, Any]:
    return await answer
