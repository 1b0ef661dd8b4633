"""Tests of push.stores.sqlite.groups and chats."""

from pathlib import Path

from twisted.trial.unittest import TestCase

from push.stores.sqlite.chats import ConversationStore
from push.stores.sqlite.groups import GroupStore, PresenceStore
from tests.stores.contract_chat import ROOM, ChatStoreContract, Stores, message
from tests.stores.test_tokens import make_database
from tests.stores.threads import ImmediateThreads, LaterThreads


class SqliteChatStoreTests(ChatStoreContract, TestCase):
    """Each write in a transaction of its own."""

    threads: type[ImmediateThreads] = ImmediateThreads

    def make_stores(self) -> Stores:
        """On a new file."""
        self.path = Path(self.mktemp()) / "push.sqlite"
        return self.opened()

    def opened(self) -> Stores:
        """On the file."""
        self.database = make_database(self.path, self.threads)
        self.database.open()
        self.addCleanup(self.database.close)
        return Stores(GroupStore(self.database), ConversationStore(self.database), PresenceStore(self.database))

    async def test_all_is_there_after_a_restart(self) -> None:
        stores = self.make_stores()
        made = await self.room(stores, "ualice", "ubob")
        said = await self.say(stores, message(1))
        await stores.presence.saw({"ualice": 5})
        await self.database.close()
        stores = self.opened()
        head = await stores.groups.load(ROOM)
        self.assertEqual((head.title, head.members, head.last_seq), (made.title, 2, 1))
        assert said is not None
        self.assertEqual(list(await stores.said.history(ROOM, 1, 9, 9)), [said.message])
        self.assertEqual(await stores.presence.seen(["ualice"]), {"ualice": 5})


class GroupedSqliteChatStoreTests(SqliteChatStoreTests):
    """What is submitted together is done together."""

    threads = LaterThreads
