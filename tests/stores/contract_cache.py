"""What every ICacheStore must do; run a backing through it by mixing this into a TestCase."""

from typing import Any

import msgspec
from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from push.icache import ICacheStore
from push.model import (
    Once,
    OnFull,
    Options,
    PushRequest,
    PushResult,
    Store,
    TagQuery,
    ToAll,
    ToConnector,
    ToTags,
    ToTokens,
    ToUids,
)
from push.model_cache import CacheChanges, Everybody, StoredDue, StoredMessage, StoredReply
from tests.stores.contract import deferred

EXPIRES_MS = 1_795_000_000_000
LAST = 2**63 - 1
EVERY_BYTE = bytes(range(256)) * 2
TEXTS = ["é", "e\u0301", "📱", "'; DROP TABLE due; --", '"', "\\", "1", "null", "\n", " ", "a", "a\0", "a\0b", "\0"]
QUERY = TagQuery(("a", "b"), ("ç\0",), ("d",))
# No field has its default: what is lost on the way to the disk shows.
FULL_OPTIONS = Options(Store.ALWAYS, True, "key\0", OnFull.DROP_OLDEST, 7, 0.5, Once("k/\0", EVERY_BYTE))
FULL_RESULT = PushResult(LAST, 7, 1, 2, ("t1", "t2"), 3, True, 8, 4)


def message(position: int, *tokens: str, **more: Any) -> StoredMessage:
    """A message; its payload is its position in words, unless something else is said."""
    payload = more.pop("payload", b"payload of %d" % position)
    given = {
        "message_id": position,
        "expires_ms": EXPIRES_MS,
        "size_bytes": len(payload),
        "is_high": False,
        "collapse_key": "",
        "audience": None,
        **more,
    }
    return StoredMessage(position=position, tokens=tokens, payload=payload, **given)


def full_message() -> StoredMessage:
    """One without any default."""
    return message(
        LAST,
        "t1",
        "t2",
        message_id=LAST - 1,
        expires_ms=7,
        is_high=True,
        collapse_key="k\0",
        audience=QUERY,
        owner="al\0ice",
    )


def reply(key: str, expires_ms: int = EXPIRES_MS, result: PushResult = FULL_RESULT) -> StoredReply:
    """An answer."""
    return StoredReply(Once(key, EVERY_BYTE[:32]), result, expires_ms)


def due(message_id: int, due_ms: int = EXPIRES_MS, target: Any = ToAll(), payload: bytes = b"p") -> StoredDue:  # noqa: B008
    """A message for later."""
    return StoredDue(message_id, due_ms, PushRequest(target, payload, 60, validate_only=False, options=FULL_OPTIONS))


class CacheStoreContract:
    """ICacheStore. Test methods are coroutines, so that a store over a network can be run through it too."""

    def make_store(self) -> ICacheStore:
        """An empty store, cleaned up after the test."""
        raise NotImplementedError

    async def all_messages(self, store: Any, limit: int = 1_000) -> list[StoredMessage]:
        """Page by page."""
        found: list[StoredMessage] = []
        while page := await store.messages(found[-1].position if found else 0, limit):
            self.assertLessEqual(len(page), limit)
            found += page
        return found

    async def all_done(self, store: Any, limit: int = 1_000) -> list[tuple[int, str]]:
        """Page by page."""
        found: list[tuple[int, str]] = []
        while page := await store.done(found[-1] if found else (0, ""), limit):
            self.assertLessEqual(len(page), limit)
            found += page
        return found

    async def assert_empty(self, store: Any) -> None:
        """Nothing is stored (of what these tests store)."""
        self.assertEqual(await self.all_messages(store), [])
        self.assertEqual(await self.all_done(store), [])
        self.assertEqual(await store.due(), [])
        self.assertEqual(await store.payloads([1, 2, LAST]), {})
        self.assertEqual(await store.log_positions(["t1"]), {})
        self.assertEqual(await store.replies(["k"]), {})

    async def test_provides_the_interface(self) -> None:
        verifyObject(ICacheStore, self.make_store())

    async def test_empty_store_has_nothing_and_takes_nothing(self) -> None:
        store = self.make_store()
        await store.commit(CacheChanges())
        await store.prune(LAST, LAST)
        await self.assert_empty(store)
        self.assertEqual(await store.payloads([]), {})
        self.assertEqual(await store.log_positions([]), {})
        self.assertEqual(await store.replies([]), {})

    async def test_messages_come_as_they_were_in_the_order_of_positions_and_without_payload(self) -> None:
        store = self.make_store()
        stored = [
            message(1, "t1"),
            message(2, "t1", "t-2._~"),
            message(3, audience=Everybody()),
            message(4, audience=TagQuery()),
            message(5, audience=QUERY),
            message(6, "t1", is_high=True),
            message(7, "t1", payload=b""),
            *(message(10 + at, "t1", collapse_key=text, owner=text) for at, text in enumerate(TEXTS)),
            full_message(),
        ]
        self.assertFalse(
            [
                field.name
                for field in msgspec.structs.fields(StoredMessage)
                if getattr(stored[-1], field.name) == getattr(stored[0], field.name)
            ]
        )
        await store.commit(CacheChanges(messages=stored[::-1]))
        expected = [msgspec.structs.replace(one, payload=None) for one in stored]
        for limit in (1, 7, 1_000):
            self.assertEqual(await self.all_messages(store, limit), expected)
        self.assertEqual(list(await store.messages(3, 2)), expected[3:5])

    async def test_message_may_be_for_very_many_tokens(self) -> None:
        store = self.make_store()
        tokens = [f"token-{number}" for number in range(20_000)]
        await store.commit(CacheChanges(messages=[message(1, *tokens)]))
        self.assertEqual([list(one.tokens) for one in await self.all_messages(store)], [tokens])

    async def test_payloads_are_any_bytes_and_those_that_are_gone_are_left_out(self) -> None:
        store = self.make_store()
        payloads = dict(enumerate([b"", EVERY_BYTE, b"\0", b"0" * 39, b"", bytes(1_000_000), b"last"], 1))
        await store.commit(CacheChanges(messages=[message(at, "t1", payload=one) for at, one in payloads.items()]))
        self.assertEqual(await store.payloads([*payloads, 99, 2, 2]), payloads)
        self.assertEqual(await store.payloads([5, 1]), {1: b"", 5: b""})
        self.assertEqual(await store.payloads([99]), {})

    async def test_many_messages_are_stored_read_and_finished(self) -> None:
        store = self.make_store()
        stored = [message(3 * number, f"t{number % 7}") for number in range(1, 5_001)]
        await store.commit(CacheChanges(messages=stored))
        self.assertEqual(
            await self.all_messages(store, 999), [msgspec.structs.replace(one, payload=None) for one in stored]
        )
        self.assertEqual(
            await store.payloads([one.position for one in stored]), {m.position: m.payload for m in stored}
        )
        await store.commit(CacheChanges(finished=[one.position for one in stored if one.position % 2]))
        self.assertEqual([one.position for one in await self.all_messages(store)], list(range(6, 15_001, 6)))

    async def test_done_pairs_come_in_order_once_each(self) -> None:
        store = self.make_store()
        pairs = [(position, token) for position in (1, 2, LAST) for token in ("-", "0", "A", "_", "a", "~")]
        await store.commit(CacheChanges(messages=[message(at, "a", "b") for at in (1, 2, LAST)], done=pairs[::-1]))
        await store.commit(CacheChanges(done=pairs[3:5]))
        for limit in (1, 5, 1_000):
            self.assertEqual(await self.all_done(store, limit), pairs)

    async def test_finished_message_is_gone_with_all_that_belongs_to_it(self) -> None:
        store = self.make_store()
        messages = [message(1, "a", "b"), message(2, "a", "b"), message(3, "a")]
        await store.commit(CacheChanges(messages=messages, done=[(1, "a"), (2, "a")]))
        await store.commit(CacheChanges(done=[(1, "b")], finished=[1, 3, 77]))
        self.assertEqual([one.position for one in await self.all_messages(store)], [2])
        self.assertEqual(await self.all_done(store), [(2, "a")])
        self.assertEqual(await store.payloads([1, 2, 3]), {2: b"payload of 2"})

    async def test_log_positions_are_the_last_ones(self) -> None:
        store = self.make_store()
        await store.commit(CacheChanges(log_positions={"t1": 5, "t2": LAST}))
        await store.commit(CacheChanges(log_positions={"t1": 7, "t3": 1}))
        asked = ["t1", "t2", "t3", "t1\0", "", "\ud800", *(f"nobody{number}" for number in range(70_000))]
        self.assertEqual(await store.log_positions(asked), {"t1": 7, "t2": LAST, "t3": 1})

    async def test_replies_are_found_by_their_whole_key_and_replaced(self) -> None:
        store = self.make_store()
        first = [reply(key, result=PushResult(0, 0, 0)) for key in TEXTS]
        await store.commit(CacheChanges(replies=first))
        self.assertEqual(await store.replies(TEXTS), {one.once.key: one for one in first})
        second = [reply(key, EXPIRES_MS + at) for at, key in enumerate(TEXTS)]
        await store.commit(CacheChanges(replies=second[::2]))
        self.assertEqual(await store.replies(TEXTS[::2]), {one.once.key: one for one in second[::2]})
        self.assertEqual(await store.replies([TEXTS[1], "", "A", "\ud800"]), {TEXTS[1]: first[1]})

    async def test_scheduled_messages_come_as_they_were_in_the_order_of_time_until_they_are_sent(self) -> None:
        store = self.make_store()
        targets = [
            ToTokens(("t1", "t2")),
            ToTokens(("t1",), single=True),
            ToUids(("al\0ice",), single=True),
            ToUids(("bob", "📱")),
            ToTags(QUERY),
            ToConnector("10.0.0.1:6789"),
            ToAll(),
        ]
        stored = [due(number, 1_000 - number, target, EVERY_BYTE) for number, target in enumerate(targets)]
        plain = StoredDue(LAST, 2**62, PushRequest(ToAll(), b"", validate_only=True))
        await store.commit(CacheChanges(due=[plain, *stored]))
        self.assertEqual(list(await store.due()), [*stored[::-1], plain])
        await store.commit(CacheChanges(undue=[0, 2, 99, LAST]))
        self.assertEqual([one.message_id for one in await store.due()], [6, 5, 4, 3, 1])

    async def test_many_scheduled_messages_are_read(self) -> None:
        store = self.make_store()
        stored = [due(number, number // 2) for number in range(3_000)]
        await store.commit(CacheChanges(due=stored))
        self.assertEqual(list(await store.due()), stored)

    async def test_commit_is_all_or_nothing(self) -> None:
        store = self.make_store()
        await store.commit(CacheChanges(messages=[message(9, "a", "b")], done=[(9, "a")], due=[due(9)]))
        everything = {
            "finished": [9],
            "undue": [9],
            "log_positions": {"t1": 1},
            "replies": [reply("k")],
            "due": [due(8)],
        }
        for bad in (message(9, "t"), message(3, "t\ud800"), message(3, "t", collapse_key="\udfff")):
            changes = CacheChanges(messages=[message(1, "a"), bad, message(2, "b")], **everything)
            try:
                await store.commit(changes)
            except Exception:
                self.assertEqual([one.position for one in await self.all_messages(store)], [9])
            else:
                self.fail("it was taken")
        self.assertEqual(await self.all_done(store), [(9, "a")])
        self.assertEqual([one.message_id for one in await store.due()], [9])
        await store.commit(CacheChanges(finished=[9], undue=[9]))
        await self.assert_empty(store)

    async def test_commits_take_effect_in_the_order_of_calls_though_nobody_waits_and_lists_are_used_again(self) -> None:
        store = self.make_store()
        changes = CacheChanges(messages=[message(1, "a"), message(2, "b")], log_positions={"t1": 1})
        calls = [deferred(store.commit(changes))]
        changes.messages[:] = [message(3, "c")]
        changes.finished.append(1)
        changes.log_positions["t1"] = 2
        calls.append(deferred(store.commit(changes)))
        changes.messages.clear()
        changes.finished[:] = [3]
        changes.log_positions.clear()
        calls.append(deferred(store.commit(changes)))
        await gatherResults(calls)
        self.assertEqual([one.position for one in await self.all_messages(store)], [2])
        self.assertEqual(await store.log_positions(["t1"]), {"t1": 2})

    async def test_pruning_forgets_expired_replies_and_log_positions_of_no_use(self) -> None:
        store = self.make_store()
        replies = [reply(f"k{number}", number) for number in range(1, 3_002)]
        places = {f"t{number}": number for number in range(1, 12_002)}
        await store.commit(
            CacheChanges(messages=[message(1, "a")], replies=replies, log_positions=places, due=[due(1)])
        )
        await store.prune(2_500, 11_000)
        found = await store.replies([one.once.key for one in replies])
        self.assertEqual(found, {one.once.key: one for one in replies[2_500:]})
        self.assertEqual(
            await store.log_positions(list(places)), {token: at for token, at in places.items() if at >= 11_000}
        )
        await store.prune(5_000, 11_500)
        self.assertEqual(await store.replies([one.once.key for one in replies]), {})
        self.assertEqual(len(await store.log_positions(list(places))), 502)
        self.assertEqual(len(await self.all_messages(store)), 1)
        self.assertEqual(len(await store.due()), 1)
