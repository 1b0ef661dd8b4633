"""What becomes of one client, in the thread of its loop: one phase after another, each doing what it can and waiting.

A phase is a method that says whether the next one can go on at once. Nothing in here blocks, but for what is saved at
the very end, and nothing is called with a lock held. Other threads reach it through `post` alone.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from nio_sdk.approach import Approach
from nio_sdk.chat import Chat
from nio_sdk.errand import Errand
from nio_sdk.handover import Handover
from nio_sdk.line import Line
from nio_sdk.plan import Plan
from nio_sdk.saving import Saving
from nio_sdk.traffic import Traffic
from nio_sdk.watch import Watch
from push.protocols.wire.client import Missed, Opened, Received
from push_client import status
from push_client.ending import Ending
from push_client.errors import TokenFileError
from push_client.message import Message
from push_client.pulse import Pulse
from push_client.standing import Standing
from push_client.status import Ended, Lost, Open, Waiting

_CLOSED = "the client was closed"
_MOVED = "the network has changed"
# Look-ups that were begun on networks the device has left, and are still under way: each is a thread.
MAX_FORGOTTEN = 4


class Life:
    """The life of one client.

    Args:
        plan: what the application wants.
        standing: what outlives connections.
        handover: where the application's threads wait.
        watch: its place in a selector.
        wake: makes the loop call `turn`; called in any thread.
        ack: what a message's `ack` calls.
        chat: ended with the client; it takes part from `hear` on.
    """

    def __init__(
        self,
        plan: Plan,
        standing: Standing,
        handover: Handover,
        *,
        watch: Watch,
        wake: Callable[[], None],
        ack: Callable[[int], None],
        chat: Chat,
    ) -> None:
        self._plan = plan
        self._standing = standing
        self._handover = handover
        self._watch = watch
        self._wake = wake
        self._ack = ack
        self._clock = plan.surroundings.clock
        self._tuning = plan.profile.tuning
        self._saving = Saving(plan.profile.store, standing, every_s=self._tuning.save_every_s, wake=wake)
        self._orders: deque[Callable[[], None]] = deque()
        self._is_turning = False
        self._is_stopping = False
        self._approach: Approach | None = None
        self._traffic: Traffic | None = None
        self._chat = chat
        self._takes_part = False
        self._opened: Open | None = None
        self._forgotten: list[Errand[Any]] = []
        self._ending = Ending(None)
        self._phase: Callable[[], bool] = self._setting_out
        self._due_s = -math.inf

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen any more."""
        return self._phase == self._being_over

    @property
    def pulse(self) -> Pulse | None:
        """How the heartbeat of the session does; asked in any thread."""
        traffic = self._traffic
        return traffic.link.pulse if traffic is not None else None

    @property
    def now_s(self) -> float:
        """The time, on the clock that `due_s` is on."""
        return self._clock()

    @property
    def wants_write(self) -> bool:
        """Whether bytes wait for the line to take them, or a line to be there."""
        if self._traffic is not None:
            return self._traffic.wants_write
        return self._approach is not None and self._approach.dial is not None

    @property
    def due_s(self) -> float:
        """When to call `turn` if nothing is ready before: on the clock, infinite for never."""
        if self.is_over:
            return math.inf
        due_s = min(self._due_s, self._saving.due_s)
        if self._phase == self._living and self._traffic is not None:
            return -math.inf if self._traffic.is_hasty else min(due_s, self._traffic.link.next_s(self._clock()))
        if self._approach is not None and self._approach.dial is not None:
            return min(due_s, self._approach.dial.due_s)
        return due_s

    def load(self) -> None:
        """Go on from what an earlier run has kept; before the first turn.

        Raises:
            TokenFileError: it cannot be read, or is something else.
        """
        self._saving.load()

    def post(self, order: Callable[[], None]) -> None:
        """Have something done in the loop's thread, unless all is over; called in any thread."""
        if not self.is_over:  # nobody would take it away
            self._orders.append(order)
            self._wake()

    def stop(self) -> None:
        """Ask for the end; called in any thread."""
        if not self._is_stopping:
            self._is_stopping = True
            self._wake()

    def handled(self, message_id: int) -> None:
        """The application is done with a message. An order."""
        if self._standing.handled(message_id):
            self._saving.handled(self._clock())

    def hear(self) -> None:
        """The application takes part in the chat. An order."""
        self._takes_part = True
        if self._traffic is not None:
            self._traffic.link.attend(self._chat.talk)

    def network_changed(self, name: str | None) -> None:
        """The device is on another network, or back on one. An order."""
        has_moved = self._standing.network(name)
        if self._phase == self._living and self._traffic is not None:
            if self._traffic.link.is_open and not has_moved:
                self._traffic.link.probe(self._clock())
            else:
                self._traffic.link.leave(_MOVED)
        elif self._approach is not None:
            if self._leaves(self._approach):
                self._ended(Ending(Lost(self._approach.address, _MOVED), is_ours=True))
        elif self._phase == self._waiting:
            self._due_s = -math.inf

    def _leaves(self, approach: Approach) -> bool:
        """Whether an approach can be left for another: what it asked or looks up is forgotten, but its thread lives."""
        self._forgotten = [each for each in self._forgotten if not each.is_done]
        errand = approach.under_way
        if errand is None:
            return True
        if approach.is_credential_awaited or len(self._forgotten) >= MAX_FORGOTTEN:
            return False
        self._forgotten.append(errand)
        return True

    def turn(self) -> None:
        """Do all that can be done now. Called from within a callback it does nothing: a turn is under way."""
        if self._is_turning:
            return
        self._is_turning = True
        try:
            for _ in range(len(self._orders)):
                self._orders.popleft()()
            self._save()
            goes_on = True
            while goes_on:
                if self._is_to_stop:
                    self._stop()
                goes_on = self._phase() or self._is_to_stop
            self._save()
            self._digest()
        finally:
            self._is_turning = False

    def finish(self) -> None:
        """End now, without what cannot be sent without waiting; in the loop's thread, or before there is one."""
        self.stop()
        self.turn()
        if not self.is_over and not self._is_turning:
            self._due_s = -math.inf
            self.turn()

    def fail(self, error: Exception) -> None:
        """End for this reason."""
        self._let_go()
        self._enter(self._being_over, math.inf)
        self._saving.close(self._tuning.close_timeout_s)
        self._plan.tell(Ended(str(error) or type(error).__name__))
        self._over(error)

    # The phases: each says whether to go on at once.

    def _setting_out(self) -> bool:
        self._standing.begin()
        route = self._standing.route
        self._approach = Approach(self._plan, route, watch=self._watch, wake=self._wake, tell=self._plan.tell)
        return self._enter(self._approaching, math.inf)

    def _approaching(self) -> bool:
        assert self._approach is not None
        try:
            line = self._approach.step()
        except OSError as error:
            return self._ended(Ending(Lost(self._approach.address, str(error) or type(error).__name__)))
        except Exception as error:  # the application's own, from `auth`
            self.fail(error)
            return False
        return line is not None and self._arrive(line, self._approach)

    def _arrive(self, line: Line, approach: Approach) -> bool:
        self._approach = None
        self._traffic = Traffic(
            line,
            self._standing.link(approach.address, approach.credential, self._clock()),
            watch=self._watch,
            accepts=self._accepts,
            take=self._take,
            clock=self._clock,
        )
        if self._takes_part:
            self._traffic.link.attend(self._chat.talk)
        return self._enter(self._living, math.inf)

    def _living(self) -> bool:
        assert self._traffic is not None
        self._traffic.turn()
        return self._traffic.link.ending is not None and self._part(self._traffic.link.ending)

    def _part(self, ending: Ending) -> bool:
        assert self._traffic is not None
        self._ending = ending
        self._traffic.say_goodbye()
        return self._enter(self._leaving, self._clock() + self._tuning.close_timeout_s)

    def _leaving(self) -> bool:
        assert self._traffic is not None
        if not self._traffic.leave() and self._clock() < self._due_s:
            return False
        return self._ended(self._ending)

    def _waiting(self) -> bool:
        return self._clock() >= self._due_s and self._enter(self._setting_out, math.inf)

    def _being_over(self) -> bool:
        return False

    def _enter(self, phase: Callable[[], bool], due_s: float) -> bool:
        self._phase, self._due_s = phase, due_s
        return True

    def _ended(self, ending: Ending) -> bool:
        """An attempt is over: say so, and go where the next one goes."""
        self._let_go()
        self._handover.opened(None)
        if self._is_stopping:
            return self._end()
        if ending.status is not None:
            self._plan.tell(ending.status)
        if ending.error is not None:
            self.fail(ending.error)
            return False
        redirected, delay_s = self._standing.next(ending, self._clock(), self._plan.surroundings.random())
        if redirected is not None:
            self._plan.tell(redirected)
        if delay_s <= 0:
            return self._enter(self._setting_out, math.inf)
        self._plan.tell(Waiting(delay_s))
        return self._enter(self._waiting, self._clock() + delay_s)

    @property
    def _is_to_stop(self) -> bool:
        return self._is_stopping and self._phase not in (self._leaving, self._being_over)

    def _stop(self) -> None:
        if self._phase == self._living:
            self._part(Ending(None, is_ours=True))
        else:
            self._end()

    def _end(self) -> bool:
        self._let_go()
        self._enter(self._being_over, math.inf)
        self._saving.close(self._tuning.close_timeout_s)
        self._plan.tell(Ended(_CLOSED))
        self._over(None)
        return False

    def _over(self, error: Exception | None) -> None:
        self._handover.ended(error)
        self._chat.end(error)

    def _let_go(self) -> None:
        self._opened = None
        if self._approach is not None:
            self._approach.close()
            self._approach = None
        if self._traffic is not None:
            if self._traffic.link.ending is None:
                self._traffic.say_goodbye()
                self._traffic.leave()
            self._traffic.close()
            self._traffic = None

    def _accepts(self) -> bool:
        return not (self._is_stopping or self._saving.is_keeping or self._handover.is_full)

    def _take(self, event: Opened | Received | Missed) -> None:
        if isinstance(event, Missed):
            self._plan.tell(status.Missed(self._standing.route.current, event.reason))
            return
        if isinstance(event, Opened):
            self._opened = self._standing.opened(event, self._clock())
            self._saving.keep_token()
            self._announce()
            return
        message = Message(event.payload, event.message_id, self._ack)
        if self._plan.on_message is None:
            self._handover.put(message)
        elif self._plan.give(message) and self._plan.auto_ack and message.id is not None:
            self.handled(message.id)

    def _announce(self) -> None:
        """Say that the session is open, once its token is kept."""
        if self._opened is not None and not self._saving.is_keeping:
            opened, self._opened = self._opened, None
            self._handover.opened(opened.token)
            self._plan.tell(opened)

    def _digest(self) -> None:
        """Hand out what the chat has brought, and send what comes of it."""
        if self._takes_part:
            self._chat.digest()
            if self._chat.talk.is_ready and self._traffic is not None and self._phase == self._living:
                self._traffic.send()

    def _save(self) -> None:
        try:
            self._saving.turn(self._clock())
        except TokenFileError as error:
            self.fail(error)
        else:
            self._announce()
