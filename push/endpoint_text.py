"""Reading endpoint descriptions ("tcp:6789:interface=127.0.0.1") without a reactor: whom would they let in?

Knows just enough of Twisted's syntax for that; what it does not know counts as open to the world.
"""

import ipaddress
import re

# kind → position of the interface among the arguments, after the port; its default.
_INTERFACES = {"tcp": (1, ""), "ssl": (4, ""), "tcp6": (2, "::"), "lean": (1, "")}

# What Twisted and this package bring; plug-ins may bring more.
KINDS = ("tcp", "tcp6", "ssl", "tls", "lean", "unix", "systemd", "haproxy", "stdio")


def split(description: str) -> tuple[str, list[str], dict[str, str]]:
    r"""Split a description as Twisted does: colons separate, a backslash takes the next character as it is.

    Args:
        description: e.g. "ssl:443:privateKey=key.pem:interface=\:\:1".

    Returns:
        The kind, the positional arguments and the named ones.
    """
    parts = _parts(description)
    positional: list[str] = []
    named: dict[str, str] = {}
    for part in parts[1:]:
        name, equals, value = part.partition("=")
        if equals:
            named[_plain(name)] = _plain(value)
        else:
            positional.append(_plain(part))
    return parts[0] if parts else "", positional, named


def interface(description: str) -> str | None:
    """The address that an endpoint listens on.

    Returns:
        "" or "::" for all addresses; None where the description does not say (unix sockets, unknown kinds).
    """
    kind, positional, named = split(description)
    if kind not in _INTERFACES:
        return None
    position, default = _INTERFACES[kind]
    if "interface" in named:
        return named["interface"]
    return positional[position] if len(positional) > position else default


def port(description: str) -> int | None:
    """The port that an endpoint listens on, None where there is none or it is chosen by the system."""
    kind, positional, named = split(description)
    raw = named.get("port", positional[0] if positional else "")
    return int(raw) if kind in _INTERFACES and raw.isascii() and raw.isdigit() and int(raw) else None


def wrong_port(description: str) -> str | None:
    """The port of an endpoint that has to have one, where it is no number of 0 to 65535; "" where it is missing."""
    kind, positional, named = split(description)
    if kind not in _INTERFACES:
        return None
    raw = named.get("port", positional[0] if positional else "")
    # No port has more than five digits; int() of very many raises.
    fits = raw.isascii() and raw.isdigit() and len(raw) <= 5 and int(raw) < 65536
    return None if fits else raw


def shared(description: str) -> str:
    """A lean endpoint, such that several processes can listen on it."""
    parts = _parts(description)
    return ":".join([part for part in parts if not part.startswith("reusePort=")] + ["reusePort=1"])


def is_known(description: str) -> bool:
    """Whether it is of a kind that needs no plug-in of others."""
    return split(description)[0] in KINDS


def is_local(description: str) -> bool:
    """Whether only this machine can reach an endpoint."""
    if description.startswith("unix:"):
        return True
    host = interface(description)
    return host is not None and is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, is of the loopback interface."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parts(description: str) -> list[str]:
    return re.findall(r"(?:\\.|[^:\\])+|(?<=:)(?=:)", description)


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
