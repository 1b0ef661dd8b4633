"""Where Redis is and how to log in, out of one URL.

    redis://[user:password@]host[:port][/db]          rediss:// with TLS
    redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/db]      rediss+sentinel:// with TLS
    redis+unix://[user:password@]/path/of/socket[?db=N]

Options behind a `?`: with `replicas=N` what is accepted has to be in so many replicas; `ca=FILE` trusts the
certificates in this file instead of the system's, `cert=FILE` and `key=FILE` are shown to a server that asks for a
certificate, `sentinel_password=…` (and `sentinel_user=…`) log in to Sentinel.
What is wrong is said without repeating any part of the URL: a password with an unescaped "/" or "#" may be anywhere
in it. Imports nothing of the project.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

DEFAULT_PORT = 6379  # IANA
DEFAULT_SENTINEL_PORT = 26379  # https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
# Redis' own default is 16 databases; its configuration takes up to this.
MAX_DB = 2**31 - 1
MAX_SENTINELS = 16
MAX_REPLICAS = 9

_FORMS = "redis://host:port/db, rediss://host:port/db, redis+sentinel://host:port,host:port/master/db"
_OPTIONS = frozenset({"db", "ca", "cert", "key", "replicas", "sentinel_user", "sentinel_password"})
# Who logs in and where is not for urlsplit: it knows of one host only, and refuses several as soon as one has brackets
# (every Python since February 2025: github.com/python/cpython/issues/105704).
_AUTHORITY = re.compile(r"([A-Za-z+]{1,20}://)([^/?#\x00-\x1f]*)(.*)", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.%]{2,64}\]")


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password; either may be missing."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """What a URL says. `str()` is good for logs: it has no password.

    Attributes:
        hosts: (host, port) of the server, or of each Sentinel; none where there is a socket.
        socket: path of a unix socket, or None.
        master: what Sentinel calls the server; None: without Sentinel.
        db: number of the database.
        login: to the server.
        sentinel_login: to Sentinel.
        is_tls: whether everything is encrypted, and certificates are verified.
        ca: file with the certificates to be trusted; None: the system's.
        cert: file with our certificate, or None.
        key: file with its key; None: in the same file.
        replicas: in how many replicas what is accepted has to be.
    """

    hosts: tuple[tuple[str, int], ...]
    socket: str | None = None
    master: str | None = None
    db: int = 0
    login: Login = Login()
    sentinel_login: Login = Login()
    is_tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    replicas: int = 0

    def __str__(self) -> str:
        if self.socket is not None:
            return f"redis+unix://{self.socket}?db={self.db}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        scheme = "rediss" if self.is_tls else "redis"
        if self.master is not None:
            return f"{scheme}+sentinel://{hosts}/{self.master}/{self.db}"
        return f"{scheme}://{hosts}/{self.db}"


def parse_address(url: str) -> RedisAddress:
    """Read a URL.

    Raises:
        ValueError: it is not one of the forms above; says what is wrong, without repeating it.
    """
    found = _AUTHORITY.fullmatch(url.strip())
    if found is None:
        raise ValueError(f"must be like {_FORMS}")
    before, authority, behind = found.groups()
    try:
        parts = urlsplit(before + behind)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError(f"must be like {_FORMS}") from None
    tls, _, kind = parts.scheme.partition("+")
    if tls not in ("redis", "rediss") or kind not in ("", "sentinel", "unix") or parts.scheme.endswith("+"):
        raise ValueError(f"must be like {_FORMS}")
    if parts.fragment or not options.keys() <= _OPTIONS or "@" in parts.path:
        raise ValueError(
            f"is no such address: it may be like {_FORMS}, with the options {', '.join(sorted(_OPTIONS))} after a '?'; "
            "in a password, write %2F for '/', %3F for '?', %23 for '#', %40 for '@' and %25 for '%'"
        )
    credentials, _, hosts = authority.rpartition("@")
    common: dict[str, object] = {
        "login": _login(credentials),
        "sentinel_login": Login(options.get("sentinel_user"), options.get("sentinel_password")),
        "is_tls": tls == "rediss",
        "replicas": _replicas(options.get("replicas", "0")),
        **{name: options[name] for name in ("ca", "cert", "key") if name in options},
    }
    if tls == "redis" and common.keys() & {"ca", "cert", "key"}:
        raise ValueError("has a certificate but no TLS: write rediss:// instead of redis://")
    if "key" in common and "cert" not in common:
        raise ValueError("has a key but no certificate: say cert=FILE too")
    place = {"": _direct, "sentinel": _sentinel, "unix": _unix}[kind](parts, hosts, options)
    return RedisAddress(**common, **place)  # type: ignore[arg-type]


def _direct(parts: SplitResult, hosts: str, options: dict[str, str]) -> dict[str, object]:
    return {"hosts": (_host(hosts, DEFAULT_PORT),), "db": _db(parts.path.removeprefix("/"), options)}


def _sentinel(parts: SplitResult, hosts: str, options: dict[str, str]) -> dict[str, object]:
    master, _, db = unquote(parts.path.removeprefix("/")).partition("/")
    sentinels = hosts.split(",")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", master):
        raise ValueError("must say behind a '/' what Sentinel calls the server, like redis+sentinel://host/mymaster")
    if len(sentinels) > MAX_SENTINELS:
        raise ValueError(f"must name at most {MAX_SENTINELS} Sentinels")
    return {
        "hosts": tuple(_host(each, DEFAULT_SENTINEL_PORT) for each in sentinels),
        "master": master,
        "db": _db(db, options),
    }


def _unix(parts: SplitResult, hosts: str, options: dict[str, str]) -> dict[str, object]:
    path = unquote(parts.path)
    if hosts or len(path) < 2 or "\0" in path or parts.scheme.startswith("rediss"):
        raise ValueError("must be like redis+unix:///path/of/socket?db=0")
    return {"hosts": (), "socket": path, "db": _db("", options)}


def _login(credentials: str) -> Login:
    user, colon, password = credentials.partition(":")
    if credentials and (not colon or not password):
        raise ValueError("must have a user and a password, or only a password as in redis://:password@host")
    return Login(unquote(user) or None, unquote(password) if colon else None)


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = re.fullmatch(rf"({_HOST.pattern})(?::([0-9]{{1,5}}))?", text)
    if match is None or not 0 < int(match[2] or default_port) < 65_536:
        raise ValueError("must have a host, and a port from 1 to 65535 behind a ':' if there is one")
    return match[1].strip("[]"), int(match[2] or default_port)


def _replicas(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 1:
        raise ValueError(
            f"must say with replicas= in how many replicas what is accepted has to be: 0 to {MAX_REPLICAS}"
        )
    return int(text)


def _db(path: str, options: dict[str, str]) -> int:
    text = path or options.get("db", "0")
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > MAX_DB or (path and "db" in options):
        raise ValueError("must have at its end the number of a database, from 0 on, or nothing")
    return int(text)
