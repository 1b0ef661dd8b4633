"""One connected line: a pair of asyncio streams, and the closing of them within a time.

Imports only asyncio. Every failure of the line comes out as an OSError with a sentence.
"""

import asyncio

from aio_sdk.waiting import Clock, expire, first

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# What asyncio itself reads at once.
READ_BYTES = 65_536


class Line:
    """A pair of streams."""

    def __init__(self, streams: Streams, clock: Clock) -> None:
        self._reader, self._writer = streams
        self._clock = clock

    async def read(self) -> bytes:
        """Wait for some bytes; none at the end.

        Raises:
            OSError: the line is down.
        """
        return await self._reader.read(READ_BYTES)

    def write(self, data: bytes) -> None:
        """Send; what a dead line does not take is dropped, as reading will tell."""
        if data and not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the line has taken most of what was written.

        Raises:
            OSError: the line is down.
        """
        await self._writer.drain()

    async def close(self, timeout_s: float) -> None:
        """Close when all is written; abort if that takes too long or is cancelled."""
        self._writer.close()
        try:
            await first(self._writer.wait_closed(), expire(self._clock, timeout_s, "closing"))
        except OSError:  # the line was down already, or the time is over
            pass
        finally:
            self._writer.transport.abort()
