"""Delivery to one connector's connections, in order: batches do not overtake one another, nor broadcasts.

Must not import adapters, stores or web.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, DeferredLock, succeed

from push.ipush import IConnection, IPushForm
from push.model import Delivery, DeliveryReport, Outcome, Place
from push.services.broadcast import Broadcaster
from push.services.turns import Flusher, Slices

# How many deliveries are made between two looks at the clock.
_STRIDE = 256
# Messages to tags that may have overtaken others: as many as a few routers have under way.
_MAX_PASSED_BY = 256


class Delivering:
    """Brings messages to connections.

    Args:
        by_token: token → the connection that has its session; looked at, never changed.
        broadcaster: brings messages to all of them.
        flusher: writes what was queued, when work is divided.
        slices: when to divide it.
    """

    def __init__(
        self,
        *,
        by_token: Mapping[str, IConnection],
        broadcaster: Broadcaster,
        flusher: Flusher,
        slices: Slices,
    ) -> None:
        self._by_token = by_token
        self._broadcaster = broadcaster
        self._flusher = flusher
        self._slices = slices
        # Held while a batch is being delivered over several turns, so that no later one overtakes it.
        self._order = DeferredLock()
        # A session that is not behind has all that it is to get of the log of broadcasts up to here: what was logged
        # with places came without a gap, or all sessions were sent to the cache.
        self._logged_up_to = -1
        # What has been brought to all whom it is for, and comes behind something that is not here yet: before → place.
        self._passed_by: dict[int, int] = {}

    async def deliver(self, batch: Sequence[Delivery]) -> DeliveryReport:
        """Deliver a batch behind all that was begun before it.

        Returns:
            How many were sent, and which were not and why.
        """
        order = self._order
        if order.locked:
            await order.acquire()
        else:
            order.acquire()
        try:
            report = await self._deliver(batch)
        finally:
            order.release()
        if len(batch) == 1:  # a lone message leaves before its answer is made
            self._flusher.flush_early()
        return report

    async def broadcast(
        self, message_id: int, payload: bytes | None, is_logged: bool = False, place: Place | None = None
    ) -> int:
        """Bring a message to every session, behind all that was begun before it.

        Returns:
            How many connections it was handed to.

        Raises:
            Unavailable: too many broadcasts wait.
        """
        order = self._order
        if order.locked:
            await order.acquire()
            try:  # published before the release, which lets the next batch go at once
                passed = self._publish(message_id, payload, is_logged, place)
            finally:
                order.release()
        else:
            passed = self._publish(message_id, payload, is_logged, place)
        return await passed

    async def bring(self, message_id: int, payload: Callable[[], Awaitable[bytes]]) -> int:
        """Bring a message to every session, when its payload is there: all that is begun later waits for that.

        Args:
            message_id: its id.
            payload: asked for when it is its turn; what that raises is raised.

        Returns:
            How many connections it was handed to.
        """
        await self._order.acquire()
        try:
            passed = self._broadcaster.publish(message_id, await payload())
        finally:
            self._order.release()
        return await passed

    def _publish(self, message_id: int, payload: bytes | None, is_logged: bool, place: Place | None) -> "Deferred[int]":
        if place is None:  # what is pulled has a place that only the cache knows
            return self._broadcaster.publish(
                message_id, payload, -1 if payload is None or not is_logged else message_id
            )
        up_to = self._logged_up_to
        if place.position <= up_to:  # something newer came first: all that were open then have pulled both
            return succeed(len(self._by_token))
        self._move_on(place.position)
        return self._broadcaster.publish(
            message_id, payload, place.position, -1 if place.logged <= up_to else place.logged
        )

    async def _deliver(self, batch: Sequence[Delivery]) -> DeliveryReport:
        sent: list[int] = []
        missed: dict[int, list[tuple[str, Outcome]]] = {}
        end_s = self._slices.start()
        steps = 0
        by_token, latest = self._by_token, self._broadcaster.latest
        for position, delivery in enumerate(batch):
            tokens = delivery.tokens
            if len(tokens) == 1:
                connection = by_token.get(tokens[0])
                payload = delivery.payload
                if (  # as nearly always
                    connection is not None
                    and payload is not None
                    and connection.broadcast_number == latest
                    and delivery.place is None
                    and delivery.owner is None
                    and not (delivery.is_logged or delivery.is_keepable)
                ):
                    message_id = delivery.message_id
                    frame = connection.form.encode_push(message_id, payload)
                    outcome = connection.push(message_id, frame, delivery.is_kept)
                else:
                    outcome = self._deliver_lone(delivery, tokens[0])
                sent.append(0 if outcome else 1)
                if outcome:
                    missed[position] = [(tokens[0], outcome)]
            elif not tokens:
                self._pass_by(delivery)
                sent.append(0)
            else:
                not_sent = await self._deliver_many(delivery)
                sent.append(len(tokens) - len(not_sent))
                if not_sent:
                    missed[position] = not_sent
                latest = self._broadcaster.latest
            steps += len(tokens)
            if steps >= _STRIDE:
                steps, end_s = 0, await self._go_on(end_s)
                latest = self._broadcaster.latest
        return DeliveryReport(sent, missed)

    async def _go_on(self, end_s: float) -> float:
        """In the next turn, if the slice that ends then is over. Returns when the one that goes on, or begins, ends."""
        if not self._slices.is_over(end_s):
            return end_s
        self._flusher.flush()
        await self._slices.turn()
        return self._slices.start()

    def _deliver_lone(self, delivery: Delivery, token: str) -> Outcome:
        connection = self._by_token.get(token)
        if connection is None:
            return Outcome.OFFLINE
        broadcaster = self._broadcaster
        if connection.broadcast_number < broadcaster.latest:
            broadcaster.catch_up(connection)
        payload = delivery.payload
        message_id = delivery.message_id
        if delivery.owner is not None and _is_of_another(connection, delivery.owner):
            return Outcome.OFFLINE
        if payload is None or (delivery.place is not None and not self._continues(connection, delivery, 0)):
            return self._not_now(connection, delivery)
        if delivery.is_logged and message_id in connection.pulled:
            return Outcome.SENT
        if delivery.is_keepable and connection.is_behind:
            return Outcome.BEHIND
        outcome = connection.push(message_id, connection.form.encode_push(message_id, payload), delivery.is_kept)
        return _noted(connection, delivery, outcome) if delivery.is_logged or delivery.place is not None else outcome

    async def _deliver_many(self, delivery: Delivery) -> list[tuple[str, Outcome]]:
        """One message for many tokens, encoded once for each form; who did not get it."""
        by_token = self._by_token
        broadcaster = self._broadcaster
        frames: dict[IPushForm, bytes] = {}
        not_sent: list[tuple[str, Outcome]] = []
        end_s = self._slices.start()
        for steps, token in enumerate(delivery.tokens, 1):
            connection = by_token.get(token)
            if connection is None:
                not_sent.append((token, Outcome.OFFLINE))
                continue
            if connection.broadcast_number < broadcaster.latest:
                broadcaster.catch_up(connection)
            outcome = self._deliver_one_of_many(connection, delivery, steps - 1, frames)
            if outcome:
                not_sent.append((token, outcome))
            if not steps % _STRIDE:
                end_s = await self._go_on(end_s)
        return not_sent

    def _deliver_one_of_many(
        self, connection: IConnection, delivery: Delivery, number: int, frames: dict[IPushForm, bytes]
    ) -> Outcome:
        """Deliver to the token at this place among several."""
        if delivery.owner is not None and _is_of_another(connection, delivery.owner):
            return Outcome.OFFLINE
        payload = delivery.payload
        if payload is None or (delivery.place is not None and not self._continues(connection, delivery, number)):
            return self._not_now(connection, delivery)
        if delivery.is_logged and delivery.message_id in connection.pulled:
            return Outcome.SENT  # it was in the log before it was here: who caught up meanwhile has it
        if delivery.is_keepable and connection.is_behind:
            return Outcome.BEHIND
        frame = frames.get(connection.form)
        if frame is None:
            frame = frames[connection.form] = connection.form.encode_push(delivery.message_id, payload)
        return _noted(connection, delivery, connection.push(delivery.message_id, frame, delivery.is_kept))

    def _continues(self, connection: IConnection, delivery: Delivery, number: int) -> bool:
        """Whether what is kept comes right behind what the session has been given.

        Who does not acknowledge by now pulls what is kept for its token: that says that it was handed over.
        """
        place = delivery.place
        assert place is not None
        had = max(connection.log_position, self._logged_up_to)
        if delivery.is_logged:
            return 0 <= place.logged <= had < place.position
        return (
            place.before[number] <= connection.kept_position < place.position
            and place.logged <= had
            and connection.acks
        )

    def _not_now(self, connection: IConnection, delivery: Delivery) -> Outcome:
        """It is pulled, behind what the session lacks; or it was before it came."""
        place = delivery.place
        if place is not None:
            in_log = max(connection.log_position, self._logged_up_to)
            if place.position <= (in_log if delivery.is_logged else connection.kept_position):
                return Outcome.SENT
        connection.fall_behind()
        return Outcome.BEHIND

    def _pass_by(self, delivery: Delivery) -> None:
        """A logged message has been brought to all whom it is for: the other sessions lack nothing by it."""
        place, up_to = delivery.place, self._logged_up_to
        if not delivery.is_logged or place is None or place.position <= up_to:
            return
        if up_to < 0:  # the first here: from now on it is known where the sessions are
            self._move_on(place.position)
            self._broadcaster.publish(delivery.message_id, None, place.position)
        elif place.logged <= up_to:
            self._move_on(place.position)
        else:
            self._passed_by[place.logged] = place.position
            if len(self._passed_by) > _MAX_PASSED_BY:  # the next broadcast finds the gap
                del self._passed_by[next(iter(self._passed_by))]

    def _move_on(self, position: int) -> None:
        """All sessions have the log up to here, or are behind."""
        while position >= 0:
            self._logged_up_to = position
            position = self._passed_by.pop(position, -1)


def _is_of_another(connection: IConnection, owner: str) -> bool:
    """Whether the token is another user's by now."""
    registration = connection.registration
    return registration is None or registration.uid != owner


def _noted(connection: IConnection, delivery: Delivery, outcome: Outcome) -> Outcome:
    """What became of a message that has a place among those that are kept, or in the log of broadcasts."""
    message_id, place = delivery.message_id, delivery.place
    if not delivery.is_logged:
        if place is not None and not outcome:
            connection.kept_position = place.position
        return outcome
    if not outcome:
        connection.logged(message_id, message_id if place is None else place.position)
    elif outcome is Outcome.BEHIND and place is None and connection.acks and connection.log_position >= message_id:
        return Outcome.OFFLINE  # it has had something newer of the log: what it pulls from there is newer still
    return outcome
