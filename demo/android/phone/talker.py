"""The app without its screen: one user, one group, and what is to be seen of them.

Standard library and nio_sdk. Callbacks come from the client's thread; what they tell is handed to `tell`.
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nio_sdk
from phone.alarms import MakeAlarm, clock
from phone.notices import Notices
from phone.pacemaker import Pacemaker

_HISTORY = 50
_NOTICE_CHARS = 200
_MAX_SEQS = 1_000


@dataclass(frozen=True, slots=True)
class Happened:
    """Something for the log."""

    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the group; or a push, which has nobody as `who`."""

    who: str
    text: str
    is_mine: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """One is in the group now, and these are its members."""

    group: str
    members: tuple[str, ...]


Event = Happened | Said | Joined


class Talker:
    """One user.

    Args:
        url: of the server.
        uid: who it is.
        group: where to talk; made, if it is not there.
        tell: called with each event, in any thread.
        notices: for what comes while the app is not in front.
        make_alarm: for the heartbeat.
        directory: where token and settings are kept.
        interval_s: the heartbeat to begin with.

    Attributes:
        is_in_front: whether the user looks at the app.
        state: in a few words.
        address: of the server that the session is open at, "" while none is.

    Raises:
        ValueError: url or uid cannot be.
    """

    def __init__(
        self,
        url: str,
        uid: str,
        group: str,
        *,
        tell: Callable[[Event], None],
        notices: Notices,
        make_alarm: MakeAlarm,
        directory: Path,
        interval_s: float,
    ) -> None:
        self.is_in_front = True
        self.state = "starting"
        self.address = ""
        self._uid = uid
        self._group = group
        self._tell = tell
        self._notices = notices
        self._is_member = False
        # What is shown already: one's own comes with its answer, and with the history.
        self._seqs: set[int] = set()
        self.client = nio_sdk.PushClient(
            url,
            uid=uid,
            device={"platform": "phone"},
            token_file=token_file(directory, url, uid),
            tuning=nio_sdk.Tuning(interval_s=interval_s, max_interval_s=max(interval_s, 60.0)),
            on_status=self._told,
            on_message=self._pushed,
            on_chat=self._heard,
            surroundings=nio_sdk.Surroundings(clock=clock),
        )
        self._pacemaker = Pacemaker(self.client, make_alarm, clock)

    def start(self) -> None:
        """Connect, and be in the group; raises TokenFileError where the token cannot be read."""
        self._pacemaker.start()

    def close(self) -> None:
        """Disconnect."""
        self._pacemaker.close()

    def heartbeat(self) -> None:
        """Ask for a sign of life; or, where there is no connection, try again now."""
        self.client.network_changed()

    def say(self, text: str) -> None:
        """Say something in the group."""
        self.client.chat.send_to_group(self._group, text).add_done_callback(self._answer(self._have_said))

    def _enter(self) -> None:
        self.client.chat.join(self._group).add_done_callback(self._joined)

    def _joined(self, answer: "Future[bool]") -> None:
        error = answer.exception()
        if isinstance(error, nio_sdk.ChatError) and error.status == 404:
            self.client.chat.create(self._group).add_done_callback(self._created)
        else:
            self._answer(self._look)(answer)

    def _created(self, answer: "Future[Any]") -> None:
        error = answer.exception()
        if isinstance(error, nio_sdk.ChatError) and error.status == 409:  # somebody else, at the same moment, has
            self.client.chat.join(self._group).add_done_callback(self._answer(self._look))
        else:
            self._answer(self._look)(answer)

    def _look(self, _: object) -> None:
        self._is_member = True
        chat = self.client.chat
        chat.history(group=self._group, limit=_HISTORY).add_done_callback(self._answer(self._recall))
        self._count()

    def _count(self) -> None:
        self.client.chat.members(self._group).add_done_callback(self._answer(self._counted))

    def _counted(self, members: list[dict[str, Any]]) -> None:
        names = tuple(str(each.get("uid") or each.get("token")) for each in members)
        self._tell(Joined(self._group, names))

    def _recall(self, messages: list[nio_sdk.ChatMessage]) -> None:
        for message in messages:
            self._show(message, message.sender == self._uid)

    def _have_said(self, message: nio_sdk.ChatMessage) -> None:
        self._show(message, True)

    def _heard(self, message: nio_sdk.ChatMessage) -> None:
        if message.group == self._group and self._show(message, message.sender == self._uid):
            self._notice(f"{message.sender or 'somebody'} in #{message.group}", message.text or "")
            self._count()

    def _show(self, message: nio_sdk.ChatMessage, is_mine: bool) -> bool:
        if message.seq in self._seqs:
            return False
        self._seqs.add(message.seq)
        if len(self._seqs) > _MAX_SEQS:
            self._seqs.discard(min(self._seqs))
        text = "(taken back)" if message.is_recalled else message.text or "(data)"
        self._tell(Said(self._uid if is_mine else message.sender or "somebody", text, is_mine))
        return True

    def _pushed(self, message: nio_sdk.Message) -> None:
        text = message.data.decode("utf-8", "replace")
        self._tell(Said("", text))
        self._notice("push", text)

    def _notice(self, title: str, text: str) -> None:
        if not self.is_in_front:
            self._notices.show(title, text[:_NOTICE_CHARS])

    def _told(self, status: nio_sdk.Status) -> None:
        self._tell(Happened(str(status)))
        if isinstance(status, nio_sdk.Missed):  # the session goes on
            return
        is_open = isinstance(status, nio_sdk.Open)
        self.address = str(status.address) if isinstance(status, nio_sdk.Open) else ""
        self.state = "open" if is_open else str(status)
        if is_open and not self._is_member:
            self._enter()

    def _answer(self, then: Callable[[Any], None]) -> "Callable[[Future[Any]], None]":
        """What is done with an answer: go on with it, or say why there is none."""

        def answered(answer: "Future[Any]") -> None:
            if answer.cancelled():
                return
            error = answer.exception()
            if error is None:
                then(answer.result())
            else:
                self._tell(Happened(str(error)))

        return answered


def token_file(directory: Path, url: str, uid: str) -> Path:
    """Where the token of this user at this server is kept: each has its own."""
    return directory / f"{hashlib.sha256(f'{uid} {url}'.encode()).hexdigest()[:16]}.token"


def load_settings(directory: Path) -> dict[str, str]:
    """What was typed last; nothing where there is nothing that can be read."""
    try:
        found = json.loads((directory / "settings.json").read_text())
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def save_settings(directory: Path, settings: dict[str, str]) -> None:
    """Keep it."""
    (directory / "settings.json").write_text(json.dumps(settings))
