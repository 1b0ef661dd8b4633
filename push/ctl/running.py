"""What commands have in common that run a client until they are interrupted."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

import aio_sdk
from push.ctl.showing import status_line


def saying(tell: Callable[[str], None]) -> Callable[[aio_sdk.Status], None]:
    """An on_status that tells each status as a line, but for the last: what ends a client is said by who runs it."""

    def say(status: aio_sdk.Status) -> None:
        if not isinstance(status, aio_sdk.Ended):
            tell(status_line(status))

    return say


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """What is within ends with SIGINT or SIGTERM, and that is no error. Needs the event loop of the main thread."""
    told = asyncio.current_task()
    assert told is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        yield
