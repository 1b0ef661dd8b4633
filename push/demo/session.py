"""One user of the demo: a client, where it can talk, and what can be typed. Knows nothing of how it is shown.

Imports aio_sdk, and of pushctl the way to the HTTP API.
"""

import asyncio
import json
import time
from typing import Protocol

import aio_sdk
from push.ctl.api import Api, RefusedError, UnreachableError
from push.ctl.showing import harmless, status_line
from push.demo.places import Line, Place, Places

HELP = "/join GROUP   /to USER   /who   /leave"
_HISTORY = 50
# Short, so that heartbeats can be seen; they grow to a minute.
TUNING = aio_sdk.Tuning(interval_s=10, max_interval_s=60)


class Shows(Protocol):
    """Somebody who shows it."""

    def happened(self, text: str) -> None:
        """Something happened."""

    def changed(self) -> None:
        """The connection, or where one can talk, is not as it was."""

    def said(self, place: Place, line: Line) -> None:
        """Something was said or pushed."""

    def look(self, place: Place) -> None:
        """This is where one talks now."""


class Session:
    """One user.

    Args:
        server: as push://host:port.
        uid: who it is.
        group: to be in from the start, or "".
        api: for pushes to oneself.
        auth: the credential, where one is demanded.
        shows: told of everything.

    Attributes:
        server, uid, api: as given.
        client: of the SDK.
        places: where one can talk.
        state: in a few words.
        address: of the server that the session is open at, "" while none is.
        redirects: how often another server was named.
        pushed: how many messages were pushed to this device.
    """

    def __init__(self, server: str, *, uid: str, group: str, api: Api, auth: str | None, shows: Shows) -> None:
        self.server = server
        self.uid = uid
        self.client = aio_sdk.PushClient(
            server, uid=uid, auth=auth, device={"platform": "demo"}, tuning=TUNING, on_status=self._told
        )
        self.places = Places(uid)
        self.api = api
        self.state = "starting"
        self.address = ""
        self.redirects = 0
        self.pushed = 0
        self._group = group
        self._shows = shows
        self._answered = 0

    async def run(self) -> None:
        """Be connected until cancelled, or until the client gives up."""
        try:
            async with self.client, asyncio.TaskGroup() as tasks:
                for each in (self._take_pushes(), self._hear(), self._enter()):
                    tasks.create_task(each)
        except* aio_sdk.ClientError:  # it has said so with its status
            pass

    def beat(self) -> None:
        """Look at the heartbeat; now and then."""
        pulse = self.client.pulse
        answered = pulse.answered if pulse is not None else 0
        if pulse is not None and pulse.round_trip_s is not None and answered > self._answered:
            took = f"{1000 * pulse.round_trip_s:.1f} ms"
            self._shows.happened(f"heartbeat answered in {took}; the next after {pulse.interval_s:g} s of silence")
        self._answered = answered

    async def typed(self, text: str, place: Place) -> None:
        """Do what was typed at a place."""
        command, _, rest = text.strip().partition(" ")
        name = rest.strip()
        try:
            if command == "/join" and name:
                await self.join(name)
            elif command == "/to" and name:
                self._shows.look(self.places.user(name))
            elif command == "/who" and place.group is not None:
                await self._count(place)
                self._shows.happened(f"in {place.title}: {', '.join(place.members)}")
            elif command == "/leave" and place is not self.places.pushes:
                await self._leave(place)
            elif text.startswith("/"):
                self._shows.happened(HELP)
            else:
                await self._say(text.strip(), place)
        except (aio_sdk.ChatError, ValueError) as error:
            self._shows.happened(harmless(str(error)))

    async def join(self, group: str) -> None:
        """Be a member of a group; the first who comes makes it.

        Raises:
            ChatError: the server refuses.
            ValueError: there are too many places.
        """
        place = self.places.group(group)
        try:
            await self._be_member(group)
        except aio_sdk.ChatError:
            self.places.leave(place)
            raise
        for message in await self.client.chat.history(group=group, limit=_HISTORY):
            self.places.said(message)
        await self._count(place)
        self._shows.happened(f"you are in {place.title}")
        self._shows.look(place)

    async def _be_member(self, group: str) -> None:
        try:
            await self.client.chat.join(group)
        except aio_sdk.ChatError as error:
            if error.status != 404:
                raise
            try:
                await self.client.chat.create(group)
            except aio_sdk.ChatError as other:
                if other.status != 409:
                    raise
                await self.client.chat.join(group)  # somebody else, who came at the same moment, has made it

    async def push_to_me(self) -> None:
        """Have the API push to this device, as a back end would."""
        text = f"pushed at {time.strftime('%H:%M:%S')}"
        body = json.dumps({"target": {"token": self.client.token}, "message": {"data": text}}).encode()
        try:
            answer = await asyncio.to_thread(self.api.post, "/v1/messages:send", body)
        except (RefusedError, UnreachableError) as error:
            self._shows.happened(f"not pushed: {harmless(str(error))}")
        else:
            self._shows.happened(f"the API took message {answer.get('id')}, sent to {answer.get('sent')}")

    async def _enter(self) -> None:
        """Be where one was, and in the group that was asked for."""
        try:
            for known in await self.client.chat.conversations():
                if known.get("group") is not None and known["group"] != self._group:
                    await self.join(str(known["group"]))
            if self._group:
                await self.join(self._group)
        except (aio_sdk.ChatError, ValueError) as error:
            self._shows.happened(harmless(str(error)))

    async def _hear(self) -> None:
        async for message in self.client.chat:
            shown = self.places.said(message)
            if shown is None:
                continue
            place, line = shown
            self._shows.said(place, line)
            if place.group is not None and line.who not in place.members:
                await self._recount(place)

    async def _recount(self, place: Place) -> None:
        try:
            await self._count(place)
        except aio_sdk.ChatError as error:
            self._shows.happened(harmless(str(error)))

    async def _take_pushes(self) -> None:
        async for message in self.client:
            try:
                text = message.text
            except UnicodeDecodeError:
                text = repr(message.data)
            self.pushed += 1
            self._shows.said(self.places.pushes, self.places.pushed(text, time.time()))

    async def _say(self, text: str, place: Place) -> None:
        if place.group is not None:
            said = await self.client.chat.send_to_group(place.group, text)
        elif place.to is not None:
            said = await self.client.chat.send_to_user(place.to, text)
        else:
            raise ValueError(f"nobody hears you here: {HELP}")
        shown = self.places.own(said, place)
        if shown is not None:
            self._shows.said(*shown)

    async def _leave(self, place: Place) -> None:
        if place.group is not None:
            await self.client.chat.quit(place.group)
        self.places.leave(place)
        self._shows.look(next(iter(self.places)))

    async def _count(self, place: Place) -> None:
        assert place.group is not None
        members = await self.client.chat.members(place.group)
        place.members = tuple(str(each.get("uid") or each.get("token")) for each in members)
        self._shows.changed()

    def _told(self, status: aio_sdk.Status) -> None:
        told = status_line(status)
        if isinstance(status, aio_sdk.Open):
            self.address = str(status.address)
            self.state = "open"
            told = f"open at {self.address}"
            self._answered = 0
        elif not isinstance(status, aio_sdk.Missed):  # with that, the session goes on
            self.address = ""
            self.state = told
        self.redirects += isinstance(status, aio_sdk.Redirected)
        self._shows.happened(told)
        self._shows.changed()
