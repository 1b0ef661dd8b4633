"""nio_sdk's clients with the face of aio_sdk's chat, so that one suite tests both.

In a thread, and in a caller's loop.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, Self

import nio_sdk

_LIMIT_S = 60.0


class Face:
    """A client's chat: answers are awaited."""

    def __init__(self, chat: nio_sdk.Chat) -> None:
        self._chat = chat

    def __getattr__(self, name: str) -> Any:
        """A method that awaits its answer."""
        method = getattr(self._chat, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            answer = method(*arguments, **named)
            assert isinstance(answer, nio_sdk.Answer)
            return await asyncio.wrap_future(answer)

        return call


class _ThreadedChat(Face):
    """Messages are taken from the queue."""

    async def __aiter__(self) -> AsyncIterator[nio_sdk.ChatMessage]:
        while True:
            try:
                message = self._chat.poll()  # always in this thread, so that it reads what it got before
            except RuntimeError:
                return
            if message is not None:
                yield message
            elif self._chat.has_ended:
                return
            else:
                await asyncio.sleep(0.005)


class ThreadedClient:
    """A client in a thread of its own."""

    def __init__(self, url: str, **arguments: Any) -> None:
        self.client = nio_sdk.PushClient(url, **arguments)
        self.chat = _ThreadedChat(self.client.chat)

    async def __aenter__(self) -> Self:
        """Start."""
        await asyncio.to_thread(self.client.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await asyncio.to_thread(self.client.close)

    async def wait_open(self) -> str:
        """Wait until a session is open."""
        return await asyncio.to_thread(self.client.wait_open, _LIMIT_S)


class _CalledChat(Face):
    """Messages come to `on_chat`."""

    def __init__(self, chat: nio_sdk.Chat, client: "LoopedClient") -> None:
        super().__init__(chat)
        self._client = client

    async def __aiter__(self) -> AsyncIterator[nio_sdk.ChatMessage]:
        while (message := await self._client.heard.get()) is not None:
            yield message


class LoopedClient:
    """A client in the loop of the test, with callbacks."""

    def __init__(self, url: str, **arguments: Any) -> None:
        self.heard: asyncio.Queue[nio_sdk.ChatMessage | None] = asyncio.Queue()
        self.client = nio_sdk.PushClient(url, on_chat=self._on_chat, **arguments)
        self.chat = _CalledChat(self.client.chat, self)
        self._thread = threading.current_thread()
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Watch the descriptor."""
        self._loop = asyncio.get_running_loop()
        self._descriptor = self.client.fileno()
        self._loop.add_reader(self._descriptor, self._turn)
        self._turn()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        self._loop.remove_reader(self._descriptor)
        if self._timer is not None:
            self._timer.cancel()
        self.client.close()
        self.heard.put_nowait(None)

    async def wait_open(self) -> str:
        """Wait until a session is open."""
        while True:
            try:
                return self.client.wait_open(0)
            except TimeoutError:
                await asyncio.sleep(0.005)

    def _on_chat(self, message: nio_sdk.ChatMessage) -> None:
        assert threading.current_thread() is self._thread
        self.heard.put_nowait(message)

    def _turn(self) -> None:
        self.client.on_readable()
        if self._timer is not None:
            self._timer.cancel()
        delay_s = self.client.next_timer_s()
        self._timer = None if delay_s is None else self._loop.call_later(delay_s, self._turn)
