"""What every backing of IGroupStore, IConversationStore and IPresenceStore must do, mixed into a TestCase."""

from typing import Any, NamedTuple

from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from push.igroup import IConversationStore, IGroupStore, IPresenceStore
from push.model_chat import Change, ChatMessage, Conversation, Kind, Member, Role, Said, group_id, pair_id
from tests.stores.contract import deferred

ROOM = group_id("room")
CONTENT = '{"text":"Zoë’s \\"room\\" 📱\\u0000"}'.encode()


class Stores(NamedTuple):
    """One backing of all three."""

    groups: Any
    said: Any
    presence: Any


def change(before: Conversation, **fields: Any) -> Change:
    """A change that leaves settings as they are."""
    settings = {"title": before.title, "is_open": before.is_open, "tells_reads": before.tells_reads, "at_ms": 1_000}
    return Change(before, **{**settings, **fields})


def fresh(name: str = ROOM, kind: Kind = Kind.GROUP) -> Conversation:
    """What is seen of a conversation that is not there."""
    return Conversation(name, kind, 0)


def message(
    number: int, text: bytes = CONTENT, conversation: str = ROOM, sender: str = "ualice", name: str = ""
) -> Any:
    """Something to say."""
    return ChatMessage(conversation, 0, number, sender, 7, text, name)


class ChatStoreContract:
    """Test methods are coroutines, so that a store over a network can be run through it too."""

    def make_stores(self) -> Stores:
        """Empty ones, cleaned up after the test."""
        raise NotImplementedError

    async def room(self, stores: Stores, *whos: str) -> Conversation:
        """A group with members, the first of whom owns it."""
        members = [Member(who, Role.MEMBER if at else Role.OWNER) for at, who in enumerate(whos)]
        made: Conversation = await stores.groups.change(change(fresh(), title="The room", put=members))
        return made

    async def say(self, stores: Stores, said: ChatMessage, version: int = 1, **more: Any) -> Said | None:
        """Append, keeping up to 100."""
        limits = {"max_messages": 100, "from_id": 0}
        result: Said | None = await stores.said.append(said, version, **{**limits, **more})
        return result

    async def seqs(self, stores: Stores, first: int = 1, last: int = 1_000, limit: int = 1_000) -> list[int]:
        """Which sequence numbers there are."""
        return [each.seq for each in await stores.said.history(ROOM, first, last, limit)]

    async def test_provides_the_interfaces(self) -> None:
        stores = self.make_stores()
        verifyObject(IGroupStore, stores.groups)
        verifyObject(IConversationStore, stores.said)
        verifyObject(IPresenceStore, stores.presence)

    async def test_a_new_group_is_as_it_was_made(self) -> None:
        stores = self.make_stores()
        self.assertIsNone(await stores.groups.load(ROOM))
        made = await self.room(stores, "ualice", "ubob", "tt-1")
        self.assertEqual(made, Conversation(ROOM, Kind.GROUP, 1, "The room", True, False, 1_000, 3, 0, 0, 1, False))
        self.assertEqual(await stores.groups.load(ROOM), made)
        members = await stores.groups.members(ROOM, "", 10)
        self.assertEqual(
            list(members),
            [Member("tt-1", joined_ms=1_000), Member("ualice", Role.OWNER, 1_000), Member("ubob", joined_ms=1_000)],
        )

    async def test_members_come_in_pages(self) -> None:
        stores = self.make_stores()
        await self.room(stores, *(f"u{number:03}" for number in range(25)))
        found: list[str] = []
        while page := await stores.groups.members(ROOM, found[-1] if found else "", 10):
            found += [member.who for member in page]
        self.assertEqual(found, [f"u{number:03}" for number in range(25)])

    async def test_a_change_of_what_was_seen_otherwise_does_nothing(self) -> None:
        stores = self.make_stores()
        first = await self.room(stores, "ualice")
        self.assertIsNone(await stores.groups.change(change(fresh(), title="Mine", put=[Member("umallory")])))
        second = await stores.groups.change(change(first, title="New", put=[Member("ubob")]))
        self.assertEqual((second.version, second.members, second.title), (2, 2, "New"))
        self.assertIsNone(await stores.groups.change(change(first, removed=["ualice"])))
        self.assertEqual(await stores.groups.load(ROOM), second)

    async def test_of_two_changes_at_once_one_is_made(self) -> None:
        stores = self.make_stores()
        seen = await self.room(stores, "ualice", "ubob")
        results = await gatherResults(
            [deferred(stores.groups.change(change(seen, removed=[who]))) for who in ("ualice", "ubob")]
        )
        self.assertEqual([result is None for result in results], [False, True])
        self.assertEqual([each.who for each in await stores.groups.members(ROOM, "", 9)], ["ubob"])

    async def test_a_member_put_again_keeps_what_is_its_own(self) -> None:
        stores = self.make_stores()
        seen = await self.room(stores, "ualice")
        await self.say(stores, message(1))
        seen = await stores.groups.change(change(seen, put=[Member("ubob")], at_ms=2_000))
        await self.say(stores, message(2), 2)
        seen = await stores.groups.change(change(seen, put=[Member("ubob", Role.ADMIN, is_blocking=True)], at_ms=3_000))
        _, bob = await stores.groups.members(ROOM, "", 9)
        self.assertEqual(bob, Member("ubob", Role.ADMIN, 2_000, 1, True))
        self.assertEqual(
            await stores.said.read_positions(ROOM, ["ubob", "ualice", "unobody"]), {"ubob": 1, "ualice": 2}
        )
        self.assertEqual((seen.version, seen.members, seen.last_seq), (3, 2, 2))

    async def test_messages_are_numbered_and_read_back(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice", "ubob")
        first = await self.say(stores, message(11))
        second = await self.say(stores, message(12, b"{}", sender="ubob", name="n-1"))
        self.assertEqual(first, Said(ChatMessage(ROOM, 1, 11, "ualice", 7, CONTENT), False))
        self.assertEqual(second, Said(ChatMessage(ROOM, 2, 12, "ubob", 7, b"{}", "n-1"), False))
        assert first is not None
        assert second is not None
        self.assertEqual(list(await stores.said.history(ROOM, 1, 9, 9)), [first.message, second.message])
        head = await stores.groups.load(ROOM)
        self.assertEqual((head.last_seq, head.last_id, head.version), (2, 12, 1))

    async def test_messages_said_together_keep_their_order(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice")
        results = await gatherResults([deferred(self.say(stores, message(number))) for number in range(1, 40)])
        self.assertEqual([(said.message.seq, said.message.id) for said in results], [(n, n) for n in range(1, 40)])

    async def test_the_same_name_is_the_same_message(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice", "ubob")
        first, again = await gatherResults(
            [deferred(self.say(stores, message(number, name="n-1"))) for number in (1, 2)]
        )
        later = await self.say(stores, message(3, b'{"text":"other"}', name="n-1"))
        other = await self.say(stores, message(4, sender="ubob", name="n-1"))
        assert other is not None
        self.assertEqual([first.is_repeat, other.is_repeat], [False, False])
        for repeat in (again, later):
            self.assertEqual(repeat, Said(first.message, True))
        self.assertEqual(await self.seqs(stores), [1, 2])

    async def test_a_repeat_is_found_though_the_conversation_has_changed(self) -> None:
        stores = self.make_stores()
        seen = await self.room(stores, "ualice")
        await self.say(stores, message(1, name="n-1"))
        await stores.groups.change(change(seen, put=[Member("ubob")]))
        repeat = await self.say(stores, message(2, name="n-1"))
        assert repeat is not None
        self.assertTrue(repeat.is_repeat)

    async def test_nothing_is_said_where_the_conversation_is_not_as_it_was_seen(self) -> None:
        stores = self.make_stores()
        self.assertIsNone(await self.say(stores, message(1)))
        seen = await self.room(stores, "ualice", "ubob")
        await stores.groups.change(change(seen, removed=["ualice"]))
        self.assertIsNone(await self.say(stores, message(2)))
        self.assertEqual(await self.seqs(stores), [])

    async def test_history_comes_in_pages_from_both_ends(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice")
        for number in range(1, 11):
            await self.say(stores, message(number))
        self.assertEqual(await self.seqs(stores, 4, 9, 3), [4, 5, 6])
        self.assertEqual(await self.seqs(stores, 4, 9, -3), [7, 8, 9])
        self.assertEqual(await self.seqs(stores, 11, 20), [])
        self.assertEqual(list(await stores.said.history("g.other", 1, 9, 9)), [])

    async def test_only_so_many_messages_are_kept(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice")
        for number in range(1, 8):
            await self.say(stores, message(number, name=f"n-{number}"), max_messages=3)
        self.assertEqual(await self.seqs(stores), [5, 6, 7])
        head = await stores.groups.load(ROOM)
        self.assertEqual((head.first_seq, head.last_seq), (5, 7))
        forgotten = await self.say(stores, message(8, name="n-1"), max_messages=3)
        assert forgotten is not None
        self.assertFalse(forgotten.is_repeat)

    async def test_what_is_too_old_is_forgotten(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice")
        for number in range(1, 6):
            await self.say(stores, message(number))
        await stores.said.prune(4)
        await self.say(stores, message(6), from_id=4)
        self.assertEqual(await self.seqs(stores), [4, 5, 6])
        head = await stores.groups.load(ROOM)
        self.assertEqual(head.first_seq, 4)

    async def test_what_is_recalled_is_forgotten_with_the_message_that_says_so(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice")
        await self.say(stores, message(1, name="n-1"))
        await self.say(stores, message(2, b'{"recalls":1}'), recalls=1)
        first, second = await stores.said.history(ROOM, 1, 9, 9)
        self.assertEqual((first.content, first.is_recalled, first.client_id), (b"{}", True, "n-1"))
        self.assertEqual((second.content, second.is_recalled), (b'{"recalls":1}', False))

    async def test_who_speaks_has_read_and_reading_never_goes_back(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice", "ubob")
        for number in range(1, 6):
            await self.say(stores, message(number))
        self.assertEqual(await stores.said.read_positions(ROOM, ["ualice", "ubob"]), {"ualice": 5, "ubob": 0})
        self.assertEqual(await stores.said.move_read(ROOM, "ubob", 3), 3)
        self.assertIsNone(await stores.said.move_read(ROOM, "ubob", 2))
        self.assertEqual(await stores.said.move_read(ROOM, "ubob", 99), 5)
        self.assertIsNone(await stores.said.move_read(ROOM, "ubob", 99))
        self.assertIsNone(await stores.said.move_read(ROOM, "unobody", 3))
        self.assertIsNone(await stores.said.move_read("g.other", "ubob", 3))

    async def test_standings_are_a_party_s_conversations_in_order(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice", "ubob")
        pair = pair_id("ualice", "ubob")
        await stores.groups.change(change(fresh(pair, Kind.PAIR), put=[Member("ualice"), Member("ubob")]))
        await stores.groups.change(change(fresh(group_id("other")), put=[Member("ucarol")]))
        await self.say(stores, message(1))
        found = await stores.groups.standings("ubob", "", 10)
        self.assertEqual(
            [(each.conversation.id, each.read_seq, each.unread) for each in found], [(ROOM, 0, 1), (pair, 0, 0)]
        )
        self.assertEqual(found[0].conversation, await stores.groups.load(ROOM))
        self.assertEqual(found[0].member, Member("ubob", joined_ms=1_000))
        self.assertEqual([each.conversation.id for each in await stores.groups.standings("ubob", "", 1)], [ROOM])
        self.assertEqual([each.conversation.id for each in await stores.groups.standings("ubob", ROOM, 9)], [pair])
        self.assertEqual([await stores.groups.groups_of(who) for who in ("ubob", "unobody")], [1, 0])

    async def test_who_leaves_has_no_part_in_it_any_more(self) -> None:
        stores = self.make_stores()
        seen = await self.room(stores, "ualice", "ubob")
        left = await stores.groups.change(change(seen, removed=["ubob", "unobody"]))
        self.assertEqual((left.members, left.version), (1, 2))
        self.assertEqual(list(await stores.groups.standings("ubob", "", 9)), [])
        self.assertEqual(await stores.groups.groups_of("ubob"), 0)

    async def test_a_group_that_was_dismissed_keeps_nothing_but_its_numbers(self) -> None:
        stores = self.make_stores()
        seen = await self.room(stores, "ualice", "ubob")
        await self.say(stores, message(1))
        await self.say(stores, message(2, name="n-1"))
        gone = await stores.groups.change(change(await stores.groups.load(ROOM), is_gone=True))
        self.assertEqual((gone.is_gone, gone.members, gone.first_seq, gone.last_seq), (True, 0, 3, 2))
        self.assertEqual(await self.seqs(stores), [])
        self.assertEqual(list(await stores.groups.members(ROOM, "", 9)), [])
        self.assertIsNone(await self.say(stores, message(3), seen.version))
        again = await stores.groups.change(change(gone, title="Again", put=[Member("ucarol")], at_ms=9_000))
        self.assertEqual((again.is_gone, again.version, again.members, again.created_ms), (False, 3, 1, 9_000))
        (carol,) = await stores.groups.members(ROOM, "", 9)
        self.assertEqual(carol.since_seq, 2)
        await stores.said.prune(0)
        said = await self.say(stores, message(4, sender="ucarol", name="n-1"), again.version)
        assert said is not None
        self.assertEqual((said.message.seq, said.is_repeat), (3, False))
        self.assertEqual(await self.seqs(stores), [3])

    async def test_a_name_from_before_a_group_was_dismissed_is_a_new_one(self) -> None:
        stores = self.make_stores()
        await self.room(stores, "ualice")
        await self.say(stores, message(1, name="n-1"))
        gone = await stores.groups.change(change(await stores.groups.load(ROOM), is_gone=True))
        again = await stores.groups.change(change(gone, put=[Member("ualice")]))
        said = await self.say(stores, message(2, b'{"text":"new"}', name="n-1"), again.version)
        assert said is not None
        self.assertEqual((said.message.seq, said.is_repeat), (2, False))
        repeat = await self.say(stores, message(3, b'{"text":"new"}', name="n-1"), again.version)
        self.assertEqual(repeat, Said(said.message, True))
        await stores.said.prune(0)
        self.assertEqual(await self.seqs(stores), [2])

    async def test_when_parties_were_seen_only_grows(self) -> None:
        stores = self.make_stores()
        await stores.presence.saw({"ualice": 5, "ubob": 7})
        await stores.presence.saw({"ualice": 9, "ubob": 6})
        self.assertEqual(await stores.presence.seen(["ualice", "ubob", "unobody"]), {"ualice": 9, "ubob": 7})
        self.assertEqual(await stores.presence.seen([]), {})
