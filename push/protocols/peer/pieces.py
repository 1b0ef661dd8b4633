"""A stream of frames in pieces: each piece one call, and only a few calls under way at a time.

So what accumulates meanwhile travels together. Pieces are cut anywhere, so that a frame may be larger than the longest
string of Perspective Broker. A call that fails breaks the stream: what comes after it could not be understood.
"""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

# Perspective Broker takes strings of up to 640 KiB. A quarter of a megabyte costs a reactor about 1 ms (2026-11-23).
PIECE_BYTES = 262_144
# One call on its way, one being handled, and answers on their way back.
WINDOW = 4


class Pieces:
    """The sending end of one stream.

    Args:
        send: makes a call with a piece; its answer comes back.
        answered: called with the answers, in the order of the pieces.
        broken: called once, when a call has failed.
        window: calls under way at a time.
    """

    def __init__(
        self,
        send: Callable[[bytes], "Deferred[bytes]"],
        *,
        answered: Callable[[bytes], None],
        broken: Callable[[Failure], None],
        window: int = WINDOW,
    ) -> None:
        self._send = send
        self._answered = answered
        self._broken = broken
        self._window = window
        self._waiting: deque[bytes | memoryview] = deque()
        self.waiting_bytes = 0
        # The answers to calls under way, in order; None where there is none yet.
        self._answers: deque[list[bytes]] = deque()
        self._is_broken = False

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return len(self._answers)

    def put(self, data: bytes) -> None:
        """Add whole frames to the stream; they leave at once if the window has room.

        They are cut only if they are longer than a piece, as it is cheaper to read them whole.
        """
        if self._is_broken or not data:
            return
        self._waiting.append(data)
        self.waiting_bytes += len(data)
        self._pump()

    def _pump(self) -> None:
        while self._waiting and len(self._answers) < self._window and not self._is_broken:
            answer: list[bytes] = []
            self._answers.append(answer)
            sent = self._send(self._take())
            sent.addCallbacks(self._keep, self._fail, callbackArgs=(answer,))

    def _take(self) -> bytes:
        """The next piece: what waits, up to PIECE_BYTES."""
        waiting = self._waiting
        room = PIECE_BYTES
        parts: list[bytes | memoryview] = []
        while waiting and room:
            if len(waiting[0]) > room and parts:
                break
            data = waiting.popleft()
            if len(data) > room:
                view = memoryview(data)  # so that what is left is not copied for every piece of it
                waiting.appendleft(view[room:])
                data = view[:room]
            parts.append(data)
            room -= len(data)
        self.waiting_bytes -= PIECE_BYTES - room
        return b"".join(parts)

    def _keep(self, data: bytes, answer: list[bytes]) -> None:
        if self._is_broken:
            return
        answer.append(data)
        while self._answers and self._answers[0]:
            self._answered(self._answers.popleft()[0])
        self._pump()

    def _fail(self, failure: Failure) -> None:
        if self._is_broken:
            return
        self._is_broken = True
        self._waiting.clear()
        self._answers.clear()
        self.waiting_bytes = 0
        self._broken(failure)
