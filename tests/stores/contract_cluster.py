"""What every backing of what nodes of a cluster share must do; mixed into a TestCase as those of contract.py are."""

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import gatherResults
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.icluster import IBroadcastBus, IBusListener, ISessionDirectory
from push.ileases import ILeases
from push.model import Registration
from push.model_cluster import BusPlace, Lease, Opening
from tests.stores.contract import deferred

EVERY_BYTE = bytes(range(256))


class SessionDirectoryContract:
    """ISessionDirectory."""

    def make_directory(self) -> ISessionDirectory:
        """An empty one, cleaned up after the test."""
        raise NotImplementedError

    async def open(self, directory: Any, token: str, connector: str = "c1", uid: str | None = None) -> Registration:
        """Open a session in short."""
        opening = await directory.open(token, uid, connector, acks=False)
        return opening.session

    async def test_provides_the_interface(self) -> None:
        verifyObject(ISessionDirectory, self.make_directory())

    async def test_open_session_is_found_with_all_that_is_known_of_it(self) -> None:
        directory = self.make_directory()
        first = await directory.open("t1", "al\0ice", "h:1#2", acks=True)
        second = await directory.open("t2", None, "h:1#2", acks=False)
        self.assertIsInstance(first, Opening)
        epoch = first.session.epoch
        self.assertEqual(first, Opening(Registration("t1", "al\0ice", "h:1#2", epoch, True), None))
        self.assertEqual(second.session, Registration("t2", None, "h:1#2", second.session.epoch, False))
        found = await directory.find(["t1", "t2", "t3", "", "t1\0", "\ud800"])
        self.assertEqual(found, {"t1": first.session, "t2": second.session})
        self.assertEqual(await directory.count(), 2)

    async def test_epochs_grow_over_all_tokens_and_stay_exact_in_doubles(self) -> None:
        directory = self.make_directory()
        sessions = await gatherResults([deferred(self.open(directory, f"t{number % 7}")) for number in range(700)])
        epochs = [session.epoch for session in sessions]
        self.assertEqual(epochs, sorted(set(epochs)))
        self.assertLess(max(epochs), 2**53)
        self.assertGreaterEqual(await directory.last_epoch(), max(epochs))
        later = await self.open(directory, "t8")
        self.assertGreater(later.epoch, max(epochs))

    async def test_newer_session_takes_the_place_of_the_older_which_is_told(self) -> None:
        directory = self.make_directory()
        older = await self.open(directory, "t1", "c1")
        opening = await directory.open("t1", "bob", "c2", acks=True)
        self.assertEqual(opening.replaced, older)
        self.assertEqual(await directory.find(["t1"]), {"t1": opening.session})
        self.assertEqual(await directory.count(), 1)

    async def test_late_close_of_an_older_session_undoes_nothing(self) -> None:
        directory = self.make_directory()
        older = await self.open(directory, "t1", "c1")
        for connector in ("c1", "c2"):
            newer = await self.open(directory, "t1", connector)
            await directory.close([older, older])
            self.assertEqual(await directory.find(["t1"]), {"t1": newer})
            older = newer
        await directory.close([newer, Registration("nobody", None, "c1", 1)])
        self.assertEqual(await directory.find(["t1"]), {})
        self.assertEqual(await directory.count(), 0)

    async def test_what_is_submitted_together_is_done_in_order(self) -> None:
        directory = self.make_directory()
        first = await self.open(directory, "t1")
        second, _, _, third, _ = await gatherResults(
            [
                deferred(directory.open("t1", None, "c2", acks=False)),
                deferred(directory.close([first])),
                deferred(directory.remove("t1")),
                deferred(directory.open("t1", None, "c3", acks=False)),
                deferred(directory.close([first])),
            ]
        )
        self.assertEqual(second.replaced, first)
        self.assertIsNone(third.replaced)
        self.assertEqual(await directory.find(["t1"]), {"t1": third.session})

    async def test_sessions_that_were_forgotten_are_told_again(self) -> None:
        directory = self.make_directory()
        sessions = [Registration(f"t{number}", None, "c1", 1_700_000_000_000_000 + number) for number in range(1_000)]
        self.assertEqual(await directory.reopen(sessions), [])
        self.assertEqual(await directory.reopen(sessions), [])
        self.assertEqual(
            await directory.find([session.token for session in sessions]),
            {session.token: session for session in sessions},
        )

    async def test_of_two_sessions_told_the_one_with_the_lesser_epoch_loses_in_whatever_order_they_come(self) -> None:
        for order in ((0, 1), (1, 0)):
            directory = self.make_directory()
            token = f"t{order}"
            sessions = [Registration(token, "alice", f"c{number}", 1_000 + number, True) for number in (0, 1)]
            losers = [loser for at in order for loser in await directory.reopen([sessions[at]])]
            self.assertEqual(losers, [sessions[0]])
            self.assertEqual(await directory.find([token]), {token: sessions[1]})

    async def test_same_epoch_elsewhere_loses_against_the_one_that_was_there(self) -> None:
        directory = self.make_directory()
        there, elsewhere = (Registration("t1", None, connector, 1_000) for connector in ("c1", "c2"))
        await directory.reopen([there])
        self.assertEqual(await directory.reopen([elsewhere]), [elsewhere])
        await directory.close([elsewhere])
        self.assertEqual(await directory.find(["t1"]), {"t1": there})

    async def test_new_session_is_newer_than_one_from_the_future_that_was_told(self) -> None:
        directory = self.make_directory()
        future = Registration("t1", None, "c1", 2**52)
        await directory.reopen([future])
        self.assertGreaterEqual(await directory.last_epoch(), future.epoch)
        opening = await directory.open("t1", None, "c2", acks=False)
        self.assertEqual(opening.replaced, future)
        self.assertEqual(opening.session.epoch, future.epoch + 1)

    async def test_removed_session_is_told_once(self) -> None:
        directory = self.make_directory()
        session = await self.open(directory, "t1")
        self.assertEqual(await directory.remove("t1"), session)
        self.assertIsNone(await directory.remove("t1"))
        self.assertEqual(await directory.find(["t1"]), {})

    async def test_dead_connector_leaves_with_its_sessions_and_no_others(self) -> None:
        directory = self.make_directory()
        for number in range(5):
            await self.open(directory, f"t{number}", "dead")
        moved = await self.open(directory, "t0", "c2")
        closed = await self.open(directory, "t1", "dead")
        await directory.close([closed])
        last_epoch = await directory.last_epoch()
        successor = await self.open(directory, "t2", "dead")
        other = await self.open(directory, "t9", "dead:1")
        self.assertEqual(await directory.leave("dead", last_epoch, 1), 1)
        self.assertEqual(await directory.leave("dead", last_epoch, 2), 1)
        self.assertEqual(await directory.leave("dead", last_epoch, 2), 0)
        found = await directory.find([f"t{number}" for number in range(10)])
        self.assertEqual(found, {"t0": moved, "t2": successor, "t9": other})
        self.assertEqual(await directory.count(), 3)

    async def test_any_number_of_tokens_is_looked_up(self) -> None:
        directory = self.make_directory()
        sessions = await gatherResults([deferred(self.open(directory, f"t{number}")) for number in range(50)])
        found = await directory.find([f"t{number}" for number in range(20_000)])
        self.assertEqual(found, {session.token: session for session in sessions})
        self.assertEqual(await directory.find([]), {})


class LeasesContract:
    """ILeases."""

    def make_leases(self) -> ILeases:
        """Without any lease, cleaned up after the test."""
        raise NotImplementedError

    def pass_time(self, seconds: float) -> Awaitable[None]:
        """Let time pass."""
        raise NotImplementedError

    async def test_provides_the_interface(self) -> None:
        verifyObject(ILeases, self.make_leases())

    async def test_name_is_held_by_one_at_a_time(self) -> None:
        leases = self.make_leases()
        lease = await leases.acquire("c1", b"details", 30.0)
        self.assertEqual((lease.name, lease.details), ("c1", b"details"))
        self.assertIsNone(await leases.acquire("c1", b"", 30.0))
        other = await leases.acquire("c0", EVERY_BYTE, 30.0)
        self.assertGreater(other.number, lease.number)
        self.assertEqual(list(await leases.held()), [other, lease])

    async def test_released_name_is_free_and_its_next_number_greater(self) -> None:
        leases = self.make_leases()
        first = await leases.acquire("c1", b"1", 30.0)
        self.assertIs(await leases.release(first), True)
        self.assertIs(await leases.release(first), False)
        self.assertEqual(list(await leases.held()), [])
        second = await leases.acquire("c1", b"2", 30.0)
        self.assertGreater(second.number, first.number)

    async def test_lease_that_is_not_renewed_expires_and_cannot_be_renewed_or_released_late(self) -> None:
        leases = self.make_leases()
        first = await leases.acquire("c1", b"1", 0.1)
        await self.pass_time(0.2)
        self.assertEqual(list(await leases.held()), [])
        self.assertIs(await leases.renew(first, b"", 30.0), False)
        second = await leases.acquire("c1", b"2", 30.0)
        self.assertGreater(second.number, first.number)
        self.assertIs(await leases.renew(first, b"late", 0.01), False)
        self.assertIs(await leases.release(first), False)
        self.assertEqual(list(await leases.held()), [second])

    async def test_renewed_lease_lives_on_with_new_details_and_its_number(self) -> None:
        leases = self.make_leases()
        lease = await leases.acquire("c1", b"1", 0.4)
        for number in range(4):
            await self.pass_time(0.2)
            self.assertIs(await leases.renew(lease, b"%d \n%b" % (number, EVERY_BYTE), 0.4), True)
        self.assertEqual(list(await leases.held()), [Lease("c1", lease.number, b"3 \n" + EVERY_BYTE)])

    async def test_number_that_begins_like_another_is_not_taken_for_it(self) -> None:
        leases = self.make_leases()
        lease = await leases.acquire("c1", b"", 30.0)
        shorter = Lease("c1", lease.number // 10, b"")
        self.assertIs(await leases.renew(shorter, b"", 30.0), False)
        self.assertIs(await leases.release(shorter), False)
        self.assertEqual(list(await leases.held()), [lease])

    async def test_any_text_is_a_name(self) -> None:
        leases = self.make_leases()
        names = sorted(["10.0.0.1:6789", "10.0.0.1:6789#2", "[::1]:1", "zoë", "a b", "*", "{x}"])
        for name in names:
            self.assertIsNotNone(await leases.acquire(name, b"", 30.0))
        self.assertEqual([lease.name for lease in await leases.held()], names)


@implementer(IBusListener)
class Heard:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []
        self.places: list[BusPlace] = []

    def received(self, place: BusPlace, data: bytes | None) -> None:
        """Something was published."""
        self.places.append(place)
        self.told.append("beat" if data is None else data)

    def resumed(self) -> None:
        """It begins."""
        self.told.append("resumed")

    def interrupted(self) -> None:
        """It ends."""
        self.told.append("interrupted")


class BroadcastBusContract:
    """IBroadcastBus."""

    def make_bus(self) -> IBroadcastBus:
        """One more node's, on the same channel."""
        raise NotImplementedError

    async def until(self, condition: Any) -> None:
        """Wait until something is so."""
        raise NotImplementedError

    async def test_provides_the_interface(self) -> None:
        verifyObject(IBroadcastBus, self.make_bus())
        verifyObject(IBusListener, Heard())

    async def test_everybody_hears_everything_in_order_the_publisher_too(self) -> None:
        buses = [self.make_bus() for _ in range(3)]
        listeners = [Heard() for _ in buses]
        for bus, listener in zip(buses, listeners, strict=True):
            bus.listen(listener)
        await self.until(lambda: all(bus.is_listening for bus in buses))
        messages = [b"", EVERY_BYTE, b"00123", b"subscribe", bytes(1_000_000), *(b"%d" % at for at in range(200))]
        counts = await gatherResults([deferred(buses[0].publish(message)) for message in messages])
        self.assertEqual(set(counts), {3})
        await self.until(lambda: all(len(listener.told) == len(messages) + 1 for listener in listeners))
        for listener in listeners:
            self.assertEqual(listener.told, ["resumed", *messages])

    async def test_several_publishers_are_heard_in_the_same_order_everywhere(self) -> None:
        buses = [self.make_bus() for _ in range(2)]
        listeners = [Heard() for _ in buses]
        for bus, listener in zip(buses, listeners, strict=True):
            bus.listen(listener)
        await self.until(lambda: all(bus.is_listening for bus in buses))
        await gatherResults([deferred(buses[at % 2].publish(b"%d" % at)) for at in range(100)])
        await self.until(lambda: all(len(listener.told) == 101 for listener in listeners))
        self.assertEqual(listeners[0].told, listeners[1].told)
        for publisher in (0, 1):
            mine = [data for data in listeners[0].told[1:] if int(data) % 2 == publisher]
            self.assertEqual(mine, [b"%d" % at for at in range(publisher, 100, 2)])

    async def test_late_listener_is_told_at_once_that_it_listens(self) -> None:
        bus = self.make_bus()
        await self.until(lambda: bus.is_listening)
        listener = Heard()
        bus.listen(listener)
        self.assertEqual(listener.told, ["resumed"])

    async def listening(self, count: int) -> tuple[list[IBroadcastBus], list[Heard]]:
        """Some buses that listen, and who listens to them."""
        buses = [self.make_bus() for _ in range(count)]
        listeners = [Heard() for _ in buses]
        for bus, listener in zip(buses, listeners, strict=True):
            bus.listen(listener)
        await self.until(lambda: all(bus.is_listening for bus in buses))
        return buses, listeners

    async def test_places_are_counted_without_gaps_whoever_publishes(self) -> None:
        buses, listeners = await self.listening(2)
        await gatherResults([deferred(buses[at % 2].publish(b"%d" % at)) for at in range(10)])
        await self.until(lambda: all(len(listener.places) == 10 for listener in listeners))
        self.assertEqual(listeners[0].places, listeners[1].places)
        self.assertEqual([place.number for place in listeners[0].places], list(range(1, 11)))
        self.assertEqual(len({place.epoch for place in listeners[0].places}), 1)

    async def test_beat_tells_everybody_the_place_of_the_last(self) -> None:
        buses, listeners = await self.listening(2)
        await buses[0].beat()
        await buses[0].publish(b"x")
        await buses[1].beat()
        await self.until(lambda: all(len(listener.places) == 3 for listener in listeners))
        for listener in listeners:
            self.assertEqual(listener.told, ["resumed", "beat", b"x", "beat"])
            self.assertEqual([place.number for place in listener.places], [0, 1, 1])

    async def test_log_has_what_came_after_a_place(self) -> None:
        (bus,), (listener,) = await self.listening(1)
        await bus.beat()
        await gatherResults([deferred(bus.publish(EVERY_BYTE + b"%d" % at)) for at in range(5)])
        await self.until(lambda: len(listener.places) == 6)
        start, *places = listener.places
        expected = [EVERY_BYTE + b"%d" % at for at in range(5)]
        for place, found in ((start, expected), (places[2], expected[3:]), (places[-1], [])):
            self.assertEqual(await bus.since(place), (places[-1], found))

    async def test_who_was_counted_otherwise_gets_all_of_the_log(self) -> None:
        (bus,), (listener,) = await self.listening(1)
        await bus.publish(b"x")
        await self.until(lambda: len(listener.places) == 1)
        (place,) = listener.places
        for strange in (BusPlace(place.epoch - 1, 1), BusPlace(place.epoch, 7)):
            self.assertEqual(await bus.since(strange), (place, [b"x"]))

    async def test_renewed_bus_listens_again_and_says_that_something_may_be_missing(self) -> None:
        (bus,), (listener,) = await self.listening(1)
        bus.renew()
        await self.until(lambda: listener.told[-2:] == ["interrupted", "resumed"])
        await bus.publish(b"x")
        await self.until(lambda: listener.told[-1] == b"x")
