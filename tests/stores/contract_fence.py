"""What every store that has one writer at a time must do; mixed into a TestCase as those of contract.py are."""

from typing import Any

from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from push.errors import Superseded
from push.ileases import IFenced
from tests.stores.contract import deferred

# Those of leases: microseconds since 1970.
FIRST = 1_800_000_000_000_000


class FencedContract:
    """IFenced."""

    def make_fenced(self) -> Any:
        """One more handle on the same store, as another node has it; cleaned up after the test."""
        raise NotImplementedError

    async def write(self, store: Any, number: int) -> None:
        """Write something."""
        raise NotImplementedError

    async def written(self, store: Any) -> list[int]:
        """What is there, in order."""
        raise NotImplementedError

    async def empty(self) -> None:
        """The store loses all that it had."""
        raise NotImplementedError

    async def test_provides_fencing(self) -> None:
        verifyObject(IFenced, self.make_fenced())

    async def test_newer_writer_finds_what_was_written_and_shuts_out_the_older(self) -> None:
        older, newer = self.make_fenced(), self.make_fenced()
        lost: list[str] = []
        await older.open(FIRST, lambda: lost.append("older"))
        await self.write(older, 1)
        self.assertEqual(lost, [])
        await newer.open(FIRST + 1, lambda: lost.append("newer"))
        with self.assertRaises(Superseded):
            await self.write(older, 2)
        self.assertEqual(lost, ["older"])
        await self.write(newer, 3)
        self.assertEqual(await self.written(newer), [1, 3])
        self.assertEqual(lost, ["older"])

    async def test_older_writer_cannot_open_again(self) -> None:
        older, newer = self.make_fenced(), self.make_fenced()
        await newer.open(FIRST + 1, lambda: None)
        with self.assertRaises(Superseded):
            await older.open(FIRST, lambda: None)
        with self.assertRaises(Superseded):
            await self.write(older, 1)
        await newer.open(FIRST + 1, lambda: None)
        await self.write(newer, 2)
        self.assertEqual(await self.written(newer), [2])

    async def test_nobody_writes_unfenced_once_somebody_has_opened_it(self) -> None:
        stranger, owner = self.make_fenced(), self.make_fenced()
        await self.write(stranger, 1)
        await owner.open(FIRST, lambda: None)
        with self.assertRaises(Superseded):
            await self.write(stranger, 2)
        self.assertEqual(await self.written(owner), [1])

    async def test_store_that_was_emptied_is_nobodys_until_it_is_opened_again(self) -> None:
        store = self.make_fenced()
        lost: list[str] = []
        await store.open(FIRST, lambda: lost.append("lost"))
        await self.write(store, 1)
        await self.empty()
        with self.assertRaises(Superseded):
            await self.write(store, 2)
        self.assertEqual(lost, ["lost"])
        again = self.make_fenced()
        await again.open(FIRST + 1, lambda: None)
        await self.write(again, 3)
        self.assertEqual(await self.written(again), [3])

    async def test_of_two_that_write_at_once_one_is_refused(self) -> None:
        older, newer = self.make_fenced(), self.make_fenced()
        await older.open(FIRST, lambda: None)
        late = deferred(self.write(older, 1))
        opening = deferred(newer.open(FIRST + 1, lambda: None))
        outcomes: list[Any] = []
        late.addBoth(outcomes.append)
        await gatherResults([late, opening])
        found = await self.written(newer)
        self.assertEqual(found, [] if outcomes[0] is not None else [1])
