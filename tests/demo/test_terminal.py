"""The demo on a terminal, used as a user would, with a real server; PUSH_SCREENSHOTS=docs/images keeps a picture."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from textual.pilot import Pilot
from textual.widgets import Input, RichLog, Tab
from twisted.trial.unittest import SynchronousTestCase

import aio_sdk
from push.ctl.api import Api
from push.demo import looks
from push.demo.app import DemoApp
from push.demo.door import Door
from push.protocols.wire.answers import NodeAddress
from push.testing import PushServer
from push.testing.server import HOST
from tests.integration.server import ROOT
from tests.integration.waiting import DEADLINE_S


def shown(app: DemoApp, name: str) -> str:
    """What a log shows, all of it."""
    return "\n".join(strip.text for strip in app.query_one(name, RichLog).lines)


def connection(app: DemoApp) -> dict[str, str]:
    """The rows of the connection."""
    names, values = (list(column.cells) for column in looks.connection(app.session).columns)
    return {str(name): str(value) for name, value in zip(names, values, strict=True)}


def tabs(app: DemoApp) -> list[str]:
    """What the tabs say."""
    return [tab.label_text for tab in app.query(Tab)]


class User:
    """Somebody before a terminal."""

    def __init__(self, app: DemoApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def sees(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait until it is so."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not is_so():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not so: {what}\n{shown(self.app, '#log')}") from None

    async def reads(self, text: str, where: str = "#talk") -> None:
        """Wait until it is written there."""
        await self.sees(f"{text!r} in {where}", lambda: text in " ".join(shown(self.app, where).split()))

    async def types(self, text: str) -> None:
        """Type a line."""
        field = self.app.query_one("#say", Input)
        field.focus()
        field.value = text
        await self.pilot.press("enter")


class TerminalTests(SynchronousTestCase):
    """One server, behind a door."""

    def setUp(self) -> None:
        self.server = PushServer()
        self.addCleanup(self.server.stop)
        self.server.start()

    @asynccontextmanager
    async def users(self, *uids: str, group: str = "friends", api: str = "") -> AsyncIterator[list[User]]:
        """Users who are in their group."""
        async with AsyncExitStack() as stack:
            door = await stack.enter_async_context(Door(NodeAddress(HOST, self.server.ports["framed"])))
            self.here, self.there = (f"push://{HOST}:{port}" for port in (door.port, self.server.ports["framed"]))
            users = []
            for uid in uids:
                app = DemoApp(self.here, uid=uid, group=group, api=Api(api or self.server.api_url, None))
                user = User(app, await stack.enter_async_context(app.run_test(size=(110, 30))))
                await user.reads("you are in #friends", "#log")
                users.append(user)
            yield users

    def test_it_shows_the_way_to_the_server_and_how_the_connection_is(self) -> None:
        async def test() -> None:
            async with self.users("alice", api=f"http://{HOST}:1") as (alice,):
                here, there = self.here, self.there
                steps = (f"connecting to {here}", f"sent on to {there}", f"connecting to {there}", f"open at {there}")
                for line in steps:
                    await alice.reads(line, "#log")
                rows = connection(alice.app)
                self.assertEqual((rows["state"], rows["server"]), ("● open", there))
                self.assertEqual(rows["came by"], f"{here}, redirected 1 ×")
                self.assertEqual(rows["token"], alice.app.session.client.token)
                self.assertEqual(rows["heartbeat"], "every 10 s")
                alice.app.session._told(aio_sdk.Missed(aio_sdk.Address(HOST, 1, False), "3 messages were lost"))
                await alice.reads("3 messages were lost", "#log")
                rows = connection(alice.app)
                self.assertEqual((rows["state"], rows["server"]), ("● open", there))
                await alice.pilot.press("f3")
                await alice.reads("heartbeat answered in", "#log")
                self.assertRegex(connection(alice.app)["heartbeat"], r"^every 10 s · 1 answered · \d+\.\d ms$")
                await alice.pilot.press("f2")
                await alice.reads("not pushed: cannot reach", "#log")
                await alice.pilot.press("f10")
                await alice.sees("gone", lambda: self.server.request("GET", "/v1/stats")["sessions"] == 0)

        asyncio.run(test())

    def test_two_talk_in_a_group_and_are_pushed_to(self) -> None:
        async def test() -> None:
            async with self.users("alice", "bob") as (alice, bob):
                await alice.types("hello bob")
                await bob.reads("alice hello bob")
                await bob.types("hi alice, nice to see you")
                await alice.reads("bob hi alice, nice to see you")
                await alice.sees("who is there", lambda: alice.app.place.members == ("alice", "bob"))
                await alice.pilot.press("f2")
                await alice.reads("the API took message", "#log")
                self.server.send({"uid": "alice"}, "your order 4711 is on its way")
                await alice.sees("two unread", lambda: tabs(alice.app)[0] == "pushes 2")
                await alice.pilot.press("f3")
                await alice.reads("heartbeat answered", "#log")
                self.picture(alice.app, "terminal")
                await alice.pilot.press("f4")
                await alice.reads("your order 4711 is on its way")
                await alice.reads("pushed at")
                self.assertEqual(tabs(alice.app), ["pushes", "#friends"])
                self.assertEqual(connection(bob.app)["pushes"], "0")
                await alice.app.session.typed("\x1b[31mred [bold]not[/bold]", alice.app.session.places.group("friends"))
                await bob.reads("\\x1b[31mred [bold]not[/bold]")

        asyncio.run(test())

    def test_what_can_be_typed(self) -> None:
        async def test() -> None:
            async with self.users("alice", "bob") as (alice, bob):
                await alice.types("/to bob")
                await alice.sees("a tab", lambda: tabs(alice.app) == ["pushes", "#friends", "bob"])
                await alice.types("psst")
                await bob.sees("a tab with one unread", lambda: "alice 1" in tabs(bob.app))
                await alice.types("/join work")
                await alice.reads("you are in #work", "#log")
                await alice.types("/who")
                await alice.reads("in #work: alice", "#log")
                await alice.types("/leave")
                await alice.sees("one tab less", lambda: tabs(alice.app) == ["pushes", "#friends", "bob"])
                await alice.types("/what")
                await alice.reads("/join GROUP", "#log")
                await alice.types("is anybody there")  # where pushes are read
                await alice.reads("nobody hears you here", "#log")
                await alice.types("/join a/b")
                await alice.reads("(400)", "#log")
                token = alice.app.session.client.token
                self.server.request("POST", f"/v1/tokens/{token}:kick")
                await alice.sees("the end", lambda: connection(alice.app)["state"].startswith("● ended"))

        asyncio.run(test())

    def test_it_comes_back_and_into_its_groups(self) -> None:
        async def test() -> None:
            async with self.users("alice", "bob") as (alice, bob):
                await alice.types("before")
                await bob.reads("before")
                await asyncio.to_thread(self.server.restart)
                await bob.sees("is back", lambda: shown(bob.app, "#log").count("open at") == 2)
                await alice.types("after")
                await bob.reads("after")
            async with self.users("alice", group="") as (again,):
                await again.reads("alice before")
                await again.reads("alice after")

        asyncio.run(test())

    def picture(self, app: DemoApp, name: str) -> None:
        """Take one, as an SVG."""
        drawn = app.export_screenshot()
        self.assertIn("nice", drawn)
        kept = os.environ.get("PUSH_SCREENSHOTS")
        if kept:
            (ROOT / kept / f"{name}.svg").write_text(drawn)


class SizeTests(SynchronousTestCase):
    """Without a server."""

    def test_a_small_terminal_has_room_for_what_is_said(self) -> None:
        async def test(size: tuple[int, int]) -> None:
            app = DemoApp(f"push://{HOST}:1", uid="alice", api=Api(f"http://{HOST}:1", None))
            async with app.run_test(size=size) as pilot:
                await pilot.pause()
                talk = app.query_one("#talk").size
                self.assertGreaterEqual(talk.height, 4, size)
                self.assertGreaterEqual(talk.width, 30, size)

        for size in ((60, 24), (80, 24), (60, 50)):
            asyncio.run(test(size))
