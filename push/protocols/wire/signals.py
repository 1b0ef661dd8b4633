"""The numbers of the protocol: signals, subsignals and close codes. Numbers are only ever appended.

Source: docs/protocol.md, sections "Frame" and "DISCONNECT".
"""

from enum import IntEnum

MAGIC = 0xF8
VERSION = 2
ACCEPTED_VERSIONS = frozenset({1, 2})


class Signal(IntEnum):
    """What a frame is for (low 7 bits of the third byte)."""

    NONE = 0
    SUB = 1
    AUTH = 2
    PING = 3
    PUSH = 4
    CONTACT = 5
    CONNECT = 6
    CONNECT_ACK = 7
    DISCONNECT = 8
    PUBLISH = 9
    PUB_ACK = 10


class SubSignal(IntEnum):
    """What a frame of a signal is about (low 7 bits of the eighth byte)."""

    NONE = 0
    CONNECTION_ACCEPTED = 1
    CONNECTION_REFUSED_UNACCEPTABLE_PROTOCOL_VERSION = 2
    CONNECTION_REFUSED_IDENTIFIER_REJECTED = 3
    CONNECTION_REFUSED_SERVER_UNAVAILABLE = 4
    CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD = 5
    CONNECTION_REFUSED_NOT_AUTHORIZED = 6
    CONNECTION_REFUSED_UNEXPECT_NODE = 7
    CONNECTION_REFUSED_SESSION_NOT_EXIST = 8
    US = 9
    FAR = 10
    UPUI = 11
    FRN = 12
    FRUS = 13
    FRP = 14
    FHR = 15
    FP = 16
    MN = 17
    MS = 18
    MP = 19
    FN = 20
    GC = 21
    GPGI = 22
    GPGM = 23
    GAM = 24
    GKM = 25
    GQ = 26
    GMI = 27
    MMI = 28
    GQNUT = 29
    MR = 30
    RMN = 31
    LRM = 32
    GD = 33
    GMURL = 34
    FALS = 35


class CloseCode(IntEnum):
    """Why a connection was closed. 3000-3499: connect again; 3500-3999: do not."""

    SHUTDOWN = 3000
    DRAIN = 3001
    IDLE = 3002
    SLOW_CONSUMER = 3003
    OVERLOAD = 3004
    EXPIRED = 3005
    REPLACED = 3500
    BAD_FRAME = 3501
    TOO_LARGE = 3502
    UNAUTHORISED = 3503
    KICKED = 3504
    PROTOCOL_ERROR = 3505
