"""One connection's life, from its SUB to its end: its carrier, the session table and the clock's part in it.

Pure: bytes and times in; bytes, messages and finally an `ending` out. A driver moves the bytes, calls `tick` when
`next_s` has come, and sends what `take_output` gives it after each call. It pulls events one by one, so that the
session is never ahead of what the application has room for. Whatever a server does ends in an `Ending`, never in an
exception.
"""

import math
from collections import deque

from push.protocols.wire import client as wire
from push.protocols.wire.answers import NodeAddress
from push.protocols.wire.frames import Frame, FrameError
from push.protocols.wire.messages import RETRY_BACKOFF, RETRY_NO, Disconnect, SubRequest, write_disconnect
from push.protocols.wire.signals import CloseCode, Signal
from push_client.address import Address
from push_client.carrier import make_carrier
from push_client.ending import Ending
from push_client.errors import Disconnected, Refused
from push_client.heartbeat import Heartbeat
from push_client.intervals import Intervals
from push_client.pulse import Pulse
from push_client.receipts import Receipts
from push_client.status import Lost, Rejected
from push_client.talk import Talk
from push_client.tuning import Tuning

# With so much unanswered nothing more is asked of the chat: a server that is deaf to it alone is left.
_MAX_UNANSWERED = wire.MAX_UNANSWERED // 2
_GOODBYE = Disconnect(CloseCode.SHUTDOWN, "the client closes")


class Link:
    """One connection that has just been made.

    Args:
        address: where to.
        request: the session to ask for.
        receipts: what was received and is to be acknowledged.
        intervals: the heartbeat to keep.
        tuning: times and limits.
        now_s: the time, as in all calls: seconds that only grow.

    Attributes:
        ending: None while it lives; then nothing more comes, and it is to be closed.
        talk: the client's part in the chat; None: what is said there is dropped.
    """

    def __init__(
        self,
        address: Address,
        request: SubRequest,
        *,
        receipts: Receipts,
        intervals: Intervals,
        tuning: Tuning,
        now_s: float,
    ) -> None:
        self.ending: Ending | None = None
        self.talk: Talk | None = None
        self._address = address
        self._receipts = receipts
        self._intervals = intervals
        self._tuning = tuning
        self._session = wire.ClientSession()
        self._carrier = make_carrier(address, tuning.max_body_bytes)
        # Frames wait here undigested until they are asked for.
        self._frames: deque[Frame] = deque()
        self._answer_s = now_s + tuning.connect_timeout_s
        self._frame_s: float | None = None
        self._move_s = math.inf
        self._redirect: wire.Redirected | None = None
        self._heartbeat: Heartbeat | None = None
        self._promised_ms = request.interval_ms or 0
        self._send(self._session.sub(request))

    @property
    def is_open(self) -> bool:
        """Whether the session is open."""
        return self._session.state is wire.State.OPEN

    @property
    def pulse(self) -> Pulse | None:
        """How the heartbeat does; None before the session is open and when it is over."""
        return self._heartbeat.pulse if self._heartbeat is not None and self.is_open else None

    @property
    def has_output(self) -> bool:
        """Whether there is something to send that no call of the driver's has asked for: an answer of the carrier's."""
        return bool(self._carrier.output)

    def receive(self, data: bytes, now_s: float) -> None:
        """Take what the server has sent, whenever `next_event` has nothing more."""
        before = self._carrier.buffered_bytes
        frames = self._carrier.feed(data)
        self._frames.extend(frames)
        if not self._carrier.buffered_bytes:
            self._frame_s = None
        elif frames or not before:
            self._frame_s = now_s
        if self._heartbeat is not None:
            self._heartbeat.heard(now_s)

    def next_event(self, now_s: float) -> wire.Opened | wire.Received | wire.Missed | None:
        """What has come: once that the session is open, then messages that were not here before, or that some are lost.

        Returns:
            None where there is nothing more until `receive`, or the link has ended. What is returned counts as
            received: ask only while there is room for a message.
        """
        while self.ending is None and self._frames:
            for event in self._session.receive(self._frames.popleft()):  # never more than one
                if self._is_news(event, now_s):
                    assert isinstance(event, wire.Opened | wire.Received | wire.Missed)
                    return event
        if self.ending is None and self._carrier.error is not None:
            self._end_for_bytes(self._carrier.error)
        return None

    def attend(self, talk: Talk) -> None:
        """Take part in the chat from now on."""
        self.talk = talk
        if self.is_open:
            talk.opened()

    def take_output(self, now_s: float) -> bytes:
        """What to send now, acknowledgements included; it is the caller's to send."""
        if self._receipts.wanting and self.is_open and self.ending is None:
            self._send(*self._session.acknowledge(self._receipts.take()))
        if self.talk is not None and self.is_open and self.ending is None and not self._is_deaf:
            self.talk.send(self._ask, now_s)
        output = self._carrier.output
        data = bytes(output)
        output.clear()
        if data and self._heartbeat is not None:
            self._heartbeat.sent(now_s)
        return data

    def next_s(self, now_s: float) -> float:
        """When to call `tick`, if nothing happens before."""
        if self.ending is not None:
            return math.inf
        frame_s = math.inf if self._frame_s is None else self._frame_s + self._tuning.frame_timeout_s
        if self._heartbeat is None:
            return min(self._answer_s, frame_s)
        if self._heartbeat.paused:
            frame_s = math.inf
        elif self._is_deaf:
            return now_s
        talk_s = math.inf if self.talk is None else self.talk.next_s()
        return min(self._heartbeat.next_s(now_s), self._move_s, frame_s, talk_s)

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        if self.ending is not None:
            return
        beat = self._heartbeat
        is_paused = beat is not None and beat.paused
        if beat is None and now_s >= self._answer_s:
            self.lost("the server did not answer SUB")
        elif self._frame_s is not None and not is_paused and now_s >= self._frame_s + self._tuning.frame_timeout_s:
            self.lost(f"the server took more than {self._tuning.frame_timeout_s:g} s for one frame")
        elif self._redirect is not None and now_s >= self._move_s:
            self.ending = Ending(None, nodes=self._redirect.nodes)
        elif beat is not None:
            ping = beat.due(now_s)
            if ping is not None:
                self._send(ping)
            if beat.is_dead(now_s):
                self.lost(f"the server has been silent for {self._tuning.pong_timeout_s:g} s after a PING")
            elif self._is_deaf and not is_paused:
                self.lost("the server leaves requests unanswered")
            elif self.talk is not None:
                self.talk.tick(now_s)

    def pause(self) -> None:
        """Nobody reads for now, as the application does not keep up."""
        if self._heartbeat is not None:
            self._heartbeat.paused = True

    def resume(self, now_s: float) -> None:
        """Somebody reads again."""
        if self._heartbeat is not None and self._heartbeat.paused:
            self._heartbeat.resumed(now_s)
            if self._frame_s is not None:
                self._frame_s = now_s

    def probe(self, now_s: float) -> None:
        """Find out now whether the line is alive."""
        if self._heartbeat is not None and self.ending is None:
            ping = self._heartbeat.probe(now_s)
            if ping is not None:
                self._send(ping)

    def lost(self, reason: str, cut_s: float | None = None) -> None:
        """The line is down, or to be given up, for a reason that is a sentence.

        Args:
            reason: the sentence.
            cut_s: when the other side closed it without a word, if that is what happened.
        """
        if self.ending is None:
            if self._heartbeat is not None:
                self._heartbeat.lost(cut_s)
            self.ending = Ending(Lost(self._address, reason), nodes=self._nodes())

    def leave(self, reason: str) -> None:
        """End it from this side, to begin anew."""
        if self.ending is None:
            self.ending = Ending(Lost(self._address, reason), is_ours=True)

    def close(self, now_s: float) -> bytes:
        """Say goodbye, unless the session is over.

        Returns:
            The last bytes to send, the acknowledgements that are due among them.
        """
        if self.is_open:
            self._send(*self._session.acknowledge(self._receipts.take()))
            if self.talk is not None:
                self.talk.say_last(self._ask)
        if self.talk is not None:
            self.talk.lost()
        goodbye = self._session.close(_GOODBYE)
        if goodbye is not None:
            self._send(goodbye)
        self._carrier.end()
        return self.take_output(now_s)

    @property
    def _is_deaf(self) -> bool:
        return self._session.unanswered >= _MAX_UNANSWERED

    def _send(self, *frames: Frame) -> None:
        for one in frames:
            self._carrier.send(one)

    def _ask(self, subsignal: int, body: bytes) -> int:
        """Ask something of the chat: the message id of the answer."""
        frame = self._session.request(Signal.PUBLISH, body, subsignal=subsignal)
        self._send(frame)
        return frame.message_id

    def _is_news(self, event: wire.Event, now_s: float) -> bool:
        if isinstance(event, wire.Received):
            return event.message_id is None or self._receipts.received(event.message_id)
        if isinstance(event, wire.Missed):
            return True
        if isinstance(event, wire.Opened):
            self._heartbeat = Heartbeat(
                self._session,
                self._intervals,
                timeout_s=self._tuning.pong_timeout_s,
                promised_ms=self._promised_ms,
                now_s=now_s,
            )
            if self.talk is not None:
                self.talk.opened()
            return True
        if isinstance(event, wire.PongReceived):
            if self._heartbeat is not None:
                self._heartbeat.answered(now_s)
        elif isinstance(event, wire.Redirected):
            self._redirected(event, now_s)
        elif isinstance(event, wire.Refused):
            self.ending = self._refused(event)
        elif isinstance(event, wire.Closed):
            self.ending = self._closed(event)
        elif self.talk is not None:
            self.talk.heard(event, now_s)
        return False

    def _redirected(self, event: wire.Redirected, now_s: float) -> None:
        if not self.is_open:
            self.ending = Ending(None, retry_after_s=event.retry_after_s or 0.0, nodes=event.nodes)
            return
        # Messages go on arriving until its time has come.
        self._redirect = event
        self._move_s = now_s + min(event.retry_after_s or 0.0, self._tuning.max_retry_after_s)

    def _refused(self, event: wire.Refused) -> Ending:
        return Ending(
            Rejected(self._address, event.status, event.reason),
            retry=event.retry,
            retry_after_s=event.retry_after_s or 0.0,
            error=Refused(event.status, event.reason) if event.retry == RETRY_NO else None,
        )

    def _closed(self, event: wire.Closed) -> Ending:
        said = event.disconnect
        if not event.by_peer:  # what a server did wrong once it may do right the next time
            self._send(Frame(Signal.DISCONNECT, 0, 0, write_disconnect(said)))
            return self._judged(said)
        if said.code == CloseCode.IDLE:  # our heartbeats did not reach the server
            self._intervals.lost()
        status = Lost(self._address, said.reason or f"closed with code {said.code}", said.code)
        error = Disconnected(said.code, said.reason) if said.retry == RETRY_NO else None
        return Ending(status, said.retry, said.retry_after_s or 0.0, self._nodes(), error)

    def _end_for_bytes(self, error: FrameError) -> None:
        said = Disconnect(error.code, error.reason)
        goodbye = self._session.close(said)
        if goodbye is not None and error.peer_speaks:
            self._send(goodbye)
        self.ending = self._judged(said)

    def _judged(self, said: Disconnect) -> Ending:
        return Ending(Lost(self._address, said.reason, said.code), RETRY_BACKOFF, nodes=self._nodes())

    def _nodes(self) -> tuple[NodeAddress, ...]:
        return self._redirect.nodes if self._redirect else ()
