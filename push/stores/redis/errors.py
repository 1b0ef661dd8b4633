"""What Redis says, in the words of push.errors. Nothing that was sent is repeated: it may be a payload or a secret.

Imports only push.errors.
"""

import re

import txredisapi
from twisted.internet.defer import CancelledError, TimeoutError
from twisted.internet.error import ConnectingCancelledError

from push.errors import PushError, Unavailable

RETRY_AFTER_S = 1.0

# Words at the beginning of Redis' errors: https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors
_MEANING = {
    "OOM": "Redis has no memory left: raise its maxmemory, or make room",
    "MISCONF": "Redis cannot write to its disk, and so takes nothing",
    "LOADING": "Redis is loading its data",
    "BUSY": "Redis is busy with a script that does not end",
    "MASTERDOWN": "Redis is a replica without its master",
    "READONLY": "Redis is a replica by now",
    "NOREPLICAS": "Redis has fewer replicas than it must have to be written",
    "NOAUTH": "Redis wants a password",
    "WRONGPASS": "Redis does not know this user with this password",
    "NOPERM": "Redis does not allow its user something that is needed (docs/redis.md says what is)",
    "UNBLOCKED": "Redis is a replica by now",
}
# Whoever answers so is the wrong one, or does not know us any more: connecting again may find the right one.
_WRONG_SERVER = frozenset({"LOADING", "MASTERDOWN", "READONLY", "NOAUTH", "UNBLOCKED"})
_LINE_OF_SCRIPT = re.compile(r"user_script:(\d+)")


class Away(Unavailable):
    """Redis could not be reached, so nothing was done."""


class AnswerLost(Unavailable):
    """Redis was asked and did not answer: what was asked for may have been done."""


class ScriptUnknown(Unavailable):
    """Redis does not have this script, so nothing was done."""


class Refused(Unavailable):
    """Redis answered with an error, so nothing was done.

    Attributes:
        word: with which the error began.
        is_wrong_server: whether another connection may be answered otherwise.
    """

    def __init__(self, message: str, word: str) -> None:
        super().__init__(message, retry_after_s=RETRY_AFTER_S)
        self.word = word
        self.is_wrong_server = word in _WRONG_SERVER


def refusal(error: txredisapi.RedisError) -> Unavailable:
    """What an error that Redis answered with means."""
    text = str(error)
    word = text.partition(" ")[0]
    if word == "NOSCRIPT":
        return ScriptUnknown("Redis does not have a script")
    if not re.fullmatch(r"[A-Z]{2,32}", word):
        word = "ERR"
    meaning = _MEANING.get(word)
    if meaning is None:
        line = _LINE_OF_SCRIPT.search(text)
        meaning = f"Redis refused a command ({word}{f' in line {line[1]} of a script' if line else ''})"
    return Refused(meaning, word)


def in_words(why: BaseException, timeout_s: float) -> str:
    """Why a connection could not be made."""
    if isinstance(why, PushError):
        return str(why)
    if isinstance(why, (TimeoutError, CancelledError, ConnectingCancelledError)):
        return f"it did not answer in {timeout_s:g} s"
    # What Twisted and OpenSSL say of addresses and certificates; nothing that we sent is in it.
    return f"{type(why).__name__}: {why}"[:300]
