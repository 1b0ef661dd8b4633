"""nio_sdk's client in a loop of its caller's, which is here the event loop of a test.

It has the face of aio_sdk's client, so that one suite tests both. What is in here is what an application with a loop of
its own has to do: watch one descriptor, and keep one timer.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import nio_sdk
from aio_sdk.waiting import first
from tests.sdk.chat_faces import Face
from tests.sdk.hand_clock import HandClock


class LoopedClient:
    """One client."""

    def __init__(self, url: str, *, clock: HandClock, chance: Callable[[], float], **arguments: Any) -> None:
        surroundings = nio_sdk.Surroundings(clock=clock.time, random=chance)
        self._tell = arguments.pop("on_status", None)
        self.client = nio_sdk.PushClient(url, surroundings=surroundings, on_status=self._told, **arguments)
        self._clock = clock
        self._turned = asyncio.Event()
        self._retimed = asyncio.Event()
        self._due_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._is_awaited = False

    @property
    def token(self) -> str | None:
        """Its token."""
        return self.client.token

    @property
    def pulse(self) -> nio_sdk.Pulse | None:
        """How its heartbeat does."""
        return self.client.pulse

    async def __aenter__(self) -> Self:
        """Watch its descriptor, and keep its timer."""
        self._descriptor = self.client.fileno()
        asyncio.get_running_loop().add_reader(self._descriptor, self._on_readable)
        self._task = asyncio.create_task(self._keep_time())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close it; twice does no harm."""
        if self._task is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self.client.close()
        self._turned.set()

    @property
    def chat(self) -> Face:
        """Its chat."""
        return Face(self.client.chat)

    def network_changed(self, name: str | None = None) -> None:
        """Pass it on."""
        self.client.network_changed(name)

    async def wait_open(self) -> str:
        """Wait until a session is open."""
        while True:
            try:
                return self.client.wait_open(0)
            except TimeoutError:
                self._turned.clear()
                await self._turned.wait()

    def __aiter__(self) -> Self:
        """Iterate over messages."""
        return self

    async def __anext__(self) -> nio_sdk.Message:
        """The next message."""
        while (message := self.client.poll()) is None:
            if self.client.has_ended:
                raise StopAsyncIteration
            self._turned.clear()
            await self._turned.wait()
        return message

    def _told(self, status: nio_sdk.Status) -> None:
        self._retimed.set()
        if self._tell is not None:
            self._tell(status)

    def _on_readable(self) -> None:
        self.client.on_readable()
        self._after()

    def _after(self) -> None:
        self._turned.set()
        delay_s = self.client.next_timer_s()
        if delay_s is not None and self._clock.time() + delay_s < self._due_s - 1e-9:
            self._retimed.set()

    async def _keep_time(self) -> None:
        while True:
            self._retimed.clear()
            delay_s = self.client.next_timer_s()
            self._due_s = float("inf") if delay_s is None else self._clock.time() + delay_s
            if delay_s is None:
                await self._retimed.wait()
            elif delay_s > 0:
                await first(self._clock.sleep(delay_s), self._wait_retimed())
            self.client.on_timer()
            self._after()

    async def _wait_retimed(self) -> None:
        await self._retimed.wait()
