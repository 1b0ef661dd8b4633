"""What every backing of a store interface must do; run a backing through it by mixing these into a TestCase."""

from collections.abc import Awaitable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from push.errors import PermissionDenied, Unavailable
from push.ileases import IFloorStore
from push.isubscribe import ITokenStore
from push.model import TagQuery
from push.model_subscribe import TokenInfo
from tests.fakes_store import matches

DEVICE = '{"platform":"android","name":"Zoë’s \\"phone\\" 📱"}'
TAG = st.sampled_from(["a", "b", "c", "d"])
TAGS = st.lists(TAG, max_size=4, unique=True).map(tuple)


def deferred(awaitable: Awaitable[Any]) -> Deferred[Any]:
    """Any awaitable, started."""

    async def wait() -> Any:
        return await awaitable

    return Deferred.fromCoroutine(wait())


class TokenStoreContract:
    """ITokenStore. Test methods are coroutines, so that a store over a network can be run through it too."""

    def make_store(self, max_tokens: int = 1_000_000) -> ITokenStore:
        """An empty store, cleaned up after the test."""
        raise NotImplementedError

    async def add(self, store: Any, token: str, uid: str | None = None, tags: tuple[str, ...] | None = None) -> Any:
        """Register in short."""
        return await store.register(token, uid, None, tags, 1_000, owner_only=False)

    async def refused(self, awaitable: Awaitable[Any], error: type[Exception]) -> Exception:
        """Wait for something that must fail."""
        try:
            result = await awaitable
        except error as raised:
            return raised
        raise AssertionError(f"{error.__name__} was not raised, but {result!r} returned")

    async def test_provides_the_interface(self) -> None:
        verifyObject(ITokenStore, self.make_store())

    async def test_new_token_is_stored_with_all_that_came_with_it(self) -> None:
        store = self.make_store()
        info = await store.register("t1", "alice", DEVICE, ("z", "a"), 1234, owner_only=False)
        self.assertEqual(info, TokenInfo("t1", "alice", DEVICE, ("z", "a"), 1234))
        self.assertEqual(await store.get("t1"), info)
        self.assertEqual(store.count(), 1)

    async def test_nothing_said_keeps_what_is_stored(self) -> None:
        store = self.make_store()
        first = await store.register("t1", "alice", DEVICE, ("a",), 1234, owner_only=False)
        again = await store.register("t1", None, None, None, 9999, owner_only=False)
        self.assertEqual(again, first)
        self.assertEqual(await store.get("t1"), first)
        self.assertEqual(store.count(), 1)

    async def test_what_is_said_replaces_what_is_stored(self) -> None:
        store = self.make_store()
        await store.register("t1", "alice", DEVICE, ("a", "b"), 1234, owner_only=False)
        await store.register("t1", "bob", "{}", ("b", "c"), 9999, owner_only=False)
        self.assertEqual(await store.get("t1"), TokenInfo("t1", "bob", "{}", ("b", "c"), 1234))
        self.assertEqual(await store.tokens_of(["alice", "bob"]), {"bob": ("t1",)})
        self.assertEqual(await store.tagged(TagQuery(any=("a",)), "", 9), [])
        self.assertEqual(await store.tagged(TagQuery(all=("b", "c")), "", 9), ["t1"])

    async def test_empty_list_of_tags_removes_them(self) -> None:
        store = self.make_store()
        await self.add(store, "t1", tags=("a",))
        await self.add(store, "t1", tags=())
        self.assertEqual(await store.tagged(TagQuery(any=("a",)), "", 9), [])

    async def test_owner_only_lets_the_owner_in(self) -> None:
        store = self.make_store()
        await store.register("t1", "alice", None, None, 1, owner_only=True)
        info = await store.register("t1", "alice", DEVICE, None, 2, owner_only=True)
        self.assertEqual(info, TokenInfo("t1", "alice", DEVICE, (), 1))

    async def test_owner_only_refuses_the_token_of_another_or_of_nobody_and_changes_nothing(self) -> None:
        store = self.make_store()
        for owner in ("alice", None):
            token = f"of-{owner}"
            before = await self.add(store, token, owner, ("a",))
            await self.refused(
                store.register(token, "mallory", DEVICE, ("evil",), 2, owner_only=True), PermissionDenied
            )
            self.assertEqual(await store.get(token), before)
        self.assertEqual(await store.tokens_of(["mallory"]), {})

    async def test_what_is_submitted_together_is_done_in_order(self) -> None:
        store = self.make_store()
        calls = [
            store.register("t1", "alice", None, ("a",), 1, owner_only=False),
            store.register("t1", "bob", None, None, 2, owner_only=False),
            store.delete("t1"),
            store.delete("t1"),
            store.register("t1", None, None, ("b",), 3, owner_only=False),
            store.register("t2", "carol", None, None, 4, owner_only=False),
        ]
        results = await gatherResults([deferred(call) for call in calls])
        self.assertEqual(
            results,
            [
                TokenInfo("t1", "alice", None, ("a",), 1),
                TokenInfo("t1", "bob", None, ("a",), 1),
                True,
                False,
                TokenInfo("t1", None, None, ("b",), 3),
                TokenInfo("t2", "carol", None, (), 4),
            ],
        )
        self.assertEqual(store.count(), 2)
        self.assertEqual(await store.tagged(TagQuery(any=("a", "b")), "", 9), ["t1"])

    async def test_refusal_in_the_middle_spoils_nothing_around_it(self) -> None:
        store = self.make_store()
        await self.add(store, "t1", "alice")
        calls = [
            deferred(store.register("t0", "mallory", None, None, 1, owner_only=True)),
            deferred(store.register("t1", "mallory", None, None, 1, owner_only=True)),
            deferred(store.register("t2", "mallory", None, None, 1, owner_only=True)),
        ]
        await calls[0]
        await self.refused(calls[1], PermissionDenied)
        await calls[2]
        self.assertEqual(await store.tokens_of(["alice", "mallory"]), {"alice": ("t1",), "mallory": ("t0", "t2")})

    async def test_limit_on_tokens_refuses_new_ones_and_keeps_the_old(self) -> None:
        store = self.make_store(max_tokens=2)
        calls = [deferred(self.add(store, f"t{number}")) for number in range(3)]
        await calls[0]
        await calls[1]
        error = await self.refused(calls[2], Unavailable)
        self.assertIn("tokens", str(error))
        await self.add(store, "t0", "alice")
        await store.delete("t1")
        await self.add(store, "t3")
        self.assertEqual(await store.known(["t0", "t1", "t2", "t3"]), {"t0", "t3"})
        self.assertEqual(store.count(), 2)

    async def test_known_is_asked_for_any_number_of_tokens(self) -> None:
        store = self.make_store()
        await gatherResults([deferred(self.add(store, f"t{number}")) for number in range(100)])
        asked = [f"t{number}" for number in range(70_000)]
        self.assertEqual(await store.known(asked), {f"t{number}" for number in range(100)})
        self.assertEqual(await store.known([]), frozenset())

    async def test_tokens_of_users_come_oldest_first_however_many_users_are_asked_for(self) -> None:
        store = self.make_store()
        for token in ("z", "m", "a"):
            await self.add(store, token, "alice")
        await self.add(store, "b", "bob")
        await self.add(store, "z", "alice", ("new",))
        asked = ["alice", "bob", *(f"nobody{number}" for number in range(70_000))]
        self.assertEqual(await store.tokens_of(asked), {"alice": ("z", "m", "a"), "bob": ("b",)})
        self.assertEqual(await store.tokens_of([]), {})

    async def test_tokens_registered_together_are_as_old_as_their_order(self) -> None:
        store = self.make_store()
        tokens = [f"{number * 7 % 30:02}" for number in range(30)]
        await gatherResults([deferred(self.add(store, token, "alice")) for token in tokens])
        self.assertEqual(await store.tokens_of(["alice"]), {"alice": tuple(tokens)})

    async def test_tags_of_tokens_changed_together_are_the_last_ones(self) -> None:
        store = self.make_store()
        calls = []
        for tags in (("a", "b"), ("b", "c"), (), ("a",), ("d", "a")):
            calls += [deferred(self.add(store, token, tags=tags)) for token in ("t1", "t2")]
        calls.append(deferred(self.add(store, "t2", tags=("b",))))
        await gatherResults(calls)
        for tag, tokens in (("a", ["t1"]), ("b", ["t2"]), ("c", []), ("d", ["t1"])):
            self.assertEqual(await store.tagged(TagQuery(any=(tag,)), "", 9), tokens)
        self.assertEqual((await store.get("t1")).tags, ("d", "a"))

    async def test_any_text_is_a_uid_and_a_tag_and_only_itself(self) -> None:
        store = self.make_store()
        texts = ["é", "e\u0301", "E", "e", "📱", "'; DROP TABLE tokens; --", '"', "\\", "%", "1", "1.0", "null", "$"]
        for number, text in enumerate(texts):
            await self.add(store, f"t{number:02}", text, (text,))
        for number, text in enumerate(texts):
            self.assertEqual(await store.tokens_of([text]), {text: (f"t{number:02}",)})
            self.assertEqual(await store.tagged(TagQuery(any=(text,)), "", 99), [f"t{number:02}"])
            self.assertEqual(await store.tagged(TagQuery(all=(text,)), "", 99), [f"t{number:02}"])
            self.assertEqual(len(await store.tagged(TagQuery(none=(text,)), "", 99)), len(texts) - 1)

    async def test_what_cannot_be_stored_is_not_found(self) -> None:
        store = self.make_store()
        await self.add(store, "t1", "alice", ("a",))
        for text in ("", "\ud800", "\x00", "a\x00"):
            self.assertEqual(await store.tokens_of([text]), {})
            self.assertEqual(await store.known([text]), frozenset())
            self.assertIsNone(await store.get(text))
            self.assertEqual(await store.tagged(TagQuery(any=(text,)), "", 9), [])
            self.assertEqual(await store.tagged(TagQuery(all=("a", text)), "", 9), [])
            self.assertEqual(await store.tagged(TagQuery(any=("a",), all=(text,)), "", 9), [])
            self.assertEqual(await store.tagged(TagQuery(all=("a",), none=(text,)), "", 9), ["t1"])
        for text in ("alice\x00", "a\x00", "t1\x00"):
            self.assertEqual(await store.tokens_of([text]), {})
            self.assertEqual(await store.known([text]), frozenset())
            self.assertIsNone(await store.get(text))
            self.assertEqual(await store.tagged(TagQuery(none=(text,)), "", 9), ["t1"])

    async def test_deleted_token_is_forgotten_everywhere(self) -> None:
        store = self.make_store()
        await self.add(store, "t1", "alice", ("a",))
        self.assertIs(await store.delete("t1"), True)
        self.assertIs(await store.delete("t1"), False)
        self.assertIsNone(await store.get("t1"))
        self.assertEqual(await store.known(["t1"]), frozenset())
        self.assertEqual(await store.tokens_of(["alice"]), {})
        self.assertEqual(await store.tagged(TagQuery(any=("a",)), "", 9), [])
        self.assertEqual(await store.tagged(TagQuery(), "", 9), [])
        self.assertEqual(store.count(), 0)


class TokenStoreModel:
    """Besides, for a store whose answers come at once: tag queries against their plain meaning."""

    def test_tagged_agrees_with_the_plain_meaning_page_by_page(self) -> None:
        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            st.lists(TAGS, max_size=12),
            st.lists(st.tuples(st.integers(0, 11), TAGS), max_size=5),
            st.builds(TagQuery, any=TAGS, all=TAGS, none=TAGS),
            st.integers(1, 5),
        )
        def check(
            tag_lists: list[tuple[str, ...]], changes: list[tuple[int, tuple[str, ...]]], query: TagQuery, limit: int
        ) -> None:
            store = self.make_store()
            tags_of: dict[str, tuple[str, ...]] = {}
            for number, tags in [*enumerate(tag_lists), *changes]:
                token = f"{(number * 7) % 12:02}"
                self.successResultOf(deferred(self.add(store, token, tags=tags)))
                tags_of[token] = tags
            expected = sorted(token for token, tags in tags_of.items() if matches(query, tags))
            found: list[str] = []
            while page := self.successResultOf(deferred(store.tagged(query, found[-1] if found else "", limit))):
                self.assertLessEqual(len(page), limit)
                found += page
            self.assertEqual(found, expected)

        check()


class FloorStoreContract:
    """IFloorStore."""

    def make_store(self) -> IFloorStore:
        """An empty store, cleaned up after the test."""
        raise NotImplementedError

    async def test_provides_the_interface(self) -> None:
        verifyObject(IFloorStore, self.make_store())

    async def test_floor_is_zero_at_first(self) -> None:
        self.assertEqual(await self.make_store().floor("ids"), 0)

    async def test_floor_only_rises_and_each_name_has_its_own(self) -> None:
        store = self.make_store()
        await store.raise_floor("ids", 7)
        await store.raise_floor("ids", 5)
        await store.raise_floor("epochs", 2**62)
        self.assertEqual(await store.floor("ids"), 7)
        await store.raise_floor("ids", 8)
        self.assertEqual(await store.floor("ids"), 8)
        self.assertEqual(await store.floor("epochs"), 2**62)
