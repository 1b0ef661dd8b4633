"""Every setting of the server: its name, type, default, limits and help, in one frozen value.

Read from the command line, from PUSH_* in the environment and from a TOML file, in that order of precedence.
A wrong setting raises SettingError, which names it, where it came from and what would be right. Imports
nothing of Twisted, so that it can be read and tested alone.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from push import endpoint_text
from push.cluster_settings import check_cluster
from push.settings import (
    EVENTS,
    OPTIONAL_ROLES,
    ROLES,
    Parse,
    SettingError,
    address,
    api_key,
    endpoint,
    filled,
    flag,
    listener,
    maybe,
    number,
    one_of,
    origin,
    place_of_protocol,
    plain,
    role,
    setting,
    url,
)

# What a setting must be, by the type of its default.
_KINDS: Mapping[type, str] = {int: "a whole number", float: "a number", str: "a text", tuple: "a list of texts"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, checked one by one and together."""

    role: tuple[str, ...] = setting(
        ("all",),
        f"What runs here: one or more of {', '.join(ROLES)}, all.",
        role,
        many=True,
        split=",",
        value="ROLE",
    )
    listen: tuple[str, ...] = setting(
        ("framed=lean:6789:interface=127.0.0.1", "websocket=lean:9326:interface=127.0.0.1"),
        "Where clients connect, by which protocol.",
        listener,
        many=True,
        value="PROTOCOL=ENDPOINT",
    )
    advertise: str = setting(
        "", "host:port that clients and nodes reach this connector at; default: its first listener.", address
    )
    advertise_protocols: tuple[str, ...] = setting(
        (),
        "Where clients of one wire protocol reach this connector; default: where that listens.",
        place_of_protocol,
        many=True,
        split=",",
        value="PROTOCOL=HOST:PORT",
    )
    api: str = setting("tcp:8080:interface=127.0.0.1", "Where the HTTP API listens.", endpoint, value="ENDPOINT")
    data_dir: str = setting("push-data", "Directory of everything that must survive a restart.", filled, value="DIR")
    workers: int = setting(
        0,
        "Processes that hold client connections, sharing the ports of --listen (lean: only); 0: this process does.",
        number(0, 256),
    )
    min_workers: int = setting(
        0, "Fewest workers that must serve clients for /readyz to be well; 0: all of them.", number(0, 256)
    )
    redis: str = setting(
        "",
        "Redis that the nodes of a cluster share, redis://…; without it, this process is all there is.",
        value="URL",
    )
    redis_prefix: str = setting("push", "What all keys in Redis begin with.", filled, value="TEXT")
    peer: str = setting(
        "",
        "In a cluster: where other nodes reach this one, e.g. tcp:7460:interface=10.0.0.7.",
        maybe(endpoint),
        value="ENDPOINT",
    )
    peer_advertise: str = setting("", "host:port that other nodes reach --peer at; default: where it listens.", address)
    peer_secret_file: str = setting(
        "",
        "The secret that all nodes of a cluster share, 32 bytes or more; a second line: the old one.",
        value="FILE",
    )
    peer_tls_cert: str = setting("", "Certificate of this node: nodes then talk over TLS only.", value="FILE")
    peer_tls_key: str = setting("", "The key of that certificate.", value="FILE")
    peer_tls_ca: str = setting("", "Certificates that have signed those of all nodes.", value="FILE")
    lease_s: float = setting(
        7.0,
        "In a cluster: after how many seconds without a sign of life a node counts as dead.",
        number(1, 300, whole=False),
    )
    health: str = setting(
        "",
        "Where /healthz, /readyz and /metrics are served besides --api, e.g. tcp:8081.",
        maybe(endpoint),
        value="ENDPOINT",
    )
    node_id: int = setting(0, "Number of this node in message ids; no two nodes may share one.", number(0, 1023))

    api_keys: tuple[str, ...] = setting(
        (),
        "A key of the HTTP API, as printed by `pushctl key`. Without any, the API is open to this machine.",
        api_key,
        many=True,
        split=",",
        value="NAME:RIGHTS:SHA256",
    )
    client_jwt_key_file: str = setting(
        "",
        "Clients must show a JWT, signed with this secret (32 bytes or more) or for this PEM public key.",
        value="FILE",
    )
    client_jwt_audience: str = setting("", "The audience that clients' JWTs must name.", value="TEXT")
    allow_anonymous_clients: bool = setting(
        False,
        "Let clients without JWT connect from other machines too: a token is then all that protects it.",
        flag,
    )

    allowed_origins: tuple[str, ...] = setting(
        (),
        "A web page's origin from which WebSocket may be used, besides those of this machine; * for all.",
        origin,
        many=True,
        split=",",
        value="ORIGIN",
    )

    max_connections: int = setting(
        0, "Most client connections; 0: as many as the limit on open files allows.", number(0, 10_000_000)
    )
    max_connections_per_address: int = setting(5_000, "Most connections from one address.", number(1, 10_000_000))
    max_subs_per_s: float = setting(10_000.0, "Most sessions opened in a second.", number(0.001, 1e9, whole=False))
    max_tokens: int = setting(
        10_000_000, "Most tokens kept; with more, no new ones are issued.", number(1, 1_000_000_000)
    )
    max_body_bytes: int = setting(65_536, "Largest body of a client's frame, in bytes.", number(1_024, 16_777_216))
    max_body_before_open_bytes: int = setting(
        4_096,
        "Largest body of a client's frame before its session is open, in bytes.",
        number(256, 16_777_216),
    )
    handshake_timeout_s: float = setting(
        20.0, "How long a connection may take to open a session, in seconds.", number(0.01, 3_600, whole=False)
    )
    default_interval_s: float = setting(
        300.0, "Heartbeat interval of clients that promise none, in seconds.", number(10, 1_800, whole=False)
    )
    idle_grace_s: float = setting(60.0, "How late a heartbeat may be, in seconds.", number(0.01, 3_600, whole=False))
    max_outbox_bytes: int = setting(
        1_048_576, "Most bytes that may wait for one client to read them.", number(1_024, 1_073_741_824)
    )
    max_outbox_messages: int = setting(
        1_024, "Most messages that may wait for one client to read them.", number(1, 1_000_000)
    )
    max_node_outbox_bytes: int = setting(
        268_435_456, "Most bytes that may wait for all clients together.", number(65_536, 1_099_511_627_776)
    )
    max_delay_s: int = setting(
        2_592_000, "How far ahead a message may be scheduled (deliver_at), in seconds.", number(0, 315_360_000)
    )
    ack_window: int = setting(256, "Most unacknowledged messages on one connection.", number(1, 65_536))
    close_timeout_s: float = setting(
        5.0,
        "How long a closing connection may take before it is cut, in seconds.",
        number(0.01, 600, whole=False),
    )
    stop_timeout_s: float = setting(
        10.0,
        "How long stopping may take before what is not written is dropped, in seconds.",
        number(0, 600, whole=False),
    )
    stop_spread_s: float = setting(
        10.0,
        "When stopping: over how many seconds clients are asked to spread their return.",
        number(0, 3_600, whole=False),
    )
    drain_timeout_s: float = setting(
        0.0,
        "When stopping: how long sessions may be moved to other connectors first, in seconds; 0: they are not.",
        number(0, 3_600, whole=False),
    )

    max_cached_messages: int = setting(
        1_000_000, "Most messages kept in the cache, one for each token.", number(1, 1_000_000_000)
    )
    max_cached_bytes: int = setting(
        4_294_967_296, "Most bytes of payload kept in the cache.", number(65_536, 1_099_511_627_776)
    )
    max_cached_messages_per_token: int = setting(1_000, "Most messages kept for one token.", number(1, 1_000_000))
    max_cached_bytes_per_token: int = setting(
        16_777_216, "Most bytes of payload kept for one token.", number(1_024, 1_099_511_627_776)
    )
    max_logged_broadcasts: int = setting(10_000, "Most broadcasts kept for those who are away.", number(1, 1_000_000))
    idempotency_s: int = setting(
        86_400, "How long the answer to a request with a key is remembered, in seconds.", number(1, 31_536_000)
    )
    max_scheduled: int = setting(100_000, "Most messages that wait to be sent later.", number(1, 1_000_000))
    max_receipts: int = setting(
        1_000_000, "Most receipts kept on disk, one for each message and token.", number(1, 1_000_000_000)
    )
    max_receipts_in_memory: int = setting(
        100_000, "Most receipts kept in memory, one for each message and token.", number(1, 100_000_000)
    )
    receipts_s: int = setting(86_400, "How long receipts are kept, in seconds.", number(1, 31_536_000))

    max_group_members: int = setting(5_000, "Most members of a group.", number(2, 100_000))
    max_groups_per_user: int = setting(1_000, "Most groups that one user may be in.", number(1, 100_000))
    chat_requests_per_s: float = setting(
        20.0, "Most chat requests of one user in a second, with twice as many at once.", number(0.001, 1e6, False)
    )
    chat_messages_per_s: float = setting(
        100.0, "Most messages of one conversation in a second, with twice as many at once.", number(0.001, 1e6, False)
    )
    chat_max_message_bytes: int = setting(16_384, "Largest chat message, in bytes of JSON.", number(256, 32_768))
    chat_history_messages: int = setting(10_000, "Most messages kept of one conversation.", number(1, 10_000_000))
    chat_history_s: int = setting(
        2_592_000, "How long messages of conversations are kept, in seconds.", number(60, 3_153_600_000)
    )
    chat_recall_s: int = setting(
        120, "How long members may take back what they said, in seconds.", number(0, 31_536_000)
    )
    presence_debounce_s: float = setting(
        5.0, "How long one must be there, or away, before watchers are told, in seconds.", number(0.05, 600, False)
    )

    api_max_body_bytes: int = setting(
        8_388_608, "Largest body of an HTTP request, in bytes.", number(1_024, 1_073_741_824)
    )
    api_max_connections_per_address: int = setting(
        0, "Most connections of the HTTP API from one address; 0: a quarter of all, 16 at least.", number(0, 10_000)
    )
    api_max_batch: int = setting(10_000, "Most entries of one batchSend.", number(1, 1_000_000))
    api_max_targets: int = setting(100_000, "Most tokens or uids that one message may name.", number(1, 10_000_000))
    api_requests_per_s: float = setting(
        10_000.0,
        "Most requests in a second with one key (or, without keys, from one address).",
        number(0.001, 1e9, False),
    )
    allocate_per_s: float = setting(
        100.0,
        "How often one address may ask in a second where to connect (/v1/allocate, /manager/redirect).",
        number(0.001, 1e9, False),
    )
    api_timeout_s: float = setting(
        30.0, "How long an HTTP request may take to arrive, in seconds.", number(0.1, 3_600, False)
    )

    webhook_url: str = setting("", "Where events of messages are POSTed to; empty: nowhere.", url, value="URL")
    webhook_secret_file: str = setting(
        "",
        "The secret that the webhook's requests are signed with, 32 bytes or more; a second line: the old one.",
        value="FILE",
    )
    webhook_events: tuple[str, ...] = setting(
        ("delivered", "expired", "cancelled", "replaced", "dropped", "rejected"),
        "Events that the webhook is told of.",
        one_of(*EVENTS),
        many=True,
        split=",",
        value="EVENT",
    )
    webhook_batch: int = setting(500, "Most events in a request of the webhook.", number(1, 10_000))
    webhook_queue: int = setting(
        100_000, "Most events that wait for the webhook; with more, the oldest are dropped.", number(1, 10_000_000)
    )
    webhook_timeout_s: float = setting(
        10.0, "How long a request of the webhook may take, in seconds.", number(0.1, 600, whole=False)
    )
    webhook_allow_http: bool = setting(
        False, "Let the webhook go to other machines without TLS: whoever is on the way can read it.", flag
    )

    log_format: str = setting("text", "text for people, json for machines: one object a line.", one_of("text", "json"))
    log_level: str = setting("info", "The least level that is logged.", one_of("debug", "info", "warn", "error"))

    @property
    def has_clients_at_api(self) -> bool:
        """Whether clients may connect where the API listens, too: from wherever they could at --listen."""
        return bool(self.client_jwt_key_file or self.allow_anonymous_clients or endpoint_text.is_local(self.api))

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that run here, in the order in which they start."""
        return ROLES if "all" in self.role else tuple(role for role in ROLES if role in self.role)


_SINGULAR = {
    "advertise_protocols": "advertise_protocol",
    "allowed_origins": "allowed_origin",
    "api_keys": "api_key",
    "webhook_events": "webhook_event",
}


def option_name(setting: "Field[Any]") -> str:
    """How the command line calls a setting; a setting that is given several times is named in the singular."""
    return _SINGULAR.get(setting.name, setting.name).replace("_", "-")


def environment_name(setting: "Field[Any]") -> str:
    """How the environment calls a setting."""
    return "PUSH_" + setting.name.upper()


def default_text(setting: "Field[Any]") -> str:
    """The default as one would write it."""
    value = setting.default
    if isinstance(value, bool):
        return "false" if not value else "true"
    if isinstance(value, tuple):
        return " ".join(value)
    return plain(value) if isinstance(value, float) else str(value)


def load(options: Mapping[str, str | Sequence[str]], environment: Mapping[str, str], file: str | None) -> Config:
    """Read all settings.

    Args:
        options: from the command line, by setting name; those not given are missing.
        environment: os.environ or its like; PUSH_CONFIG names the file if `file` is None. What is empty there
            counts as not set.
        file: path of a TOML file, or None.

    Returns:
        The settings, each from the first place that has it.

    Raises:
        SettingError: a setting is wrong, unknown, or does not go with another.
    """
    file = file or environment.get("PUSH_CONFIG") or None
    from_file = _read_file(file) if file else {}
    known = {setting.name for setting in fields(Config)}
    for name in from_file:
        if name not in known:
            raise SettingError(f"{name} in {file}: there is no such setting; docs/configuration.md lists them")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for each in fields(Config):
        name = each.name
        raw: object
        if name in options:
            source, raw = f"--{option_name(each)}", options[name]
        elif environment.get(environment_name(each)):
            source, raw = environment_name(each), environment[environment_name(each)]
        elif name in from_file:
            source, raw = f"{name} in {file}", from_file[name]
        else:
            continue
        try:
            values[name] = _parse(each, _as_text(each, raw))
        except SettingError as error:
            raise SettingError(f"{source}: {error}") from None
        sources[name] = source
    config = Config(**values)
    _check_together(config, sources)
    return config


def _read_file(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise SettingError(f"--config: cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingError(f"--config: {path} is not TOML: {error}") from None


def _as_text(setting: "Field[Any]", value: object) -> str | Sequence[str]:
    """TOML's types as the text that the command line would have: one parser for every source."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return value
    if isinstance(value, bool):
        word = "true" if value else "false"
        if not isinstance(setting.default, bool):
            raise SettingError(f"must be {_KINDS[type(setting.default)]}, not {word}")
        return word
    if isinstance(value, str | int | float):
        return str(value)
    raise SettingError("must be a text, a number, true, false or a list of texts")


def _parse(setting: "Field[Any]", raw: str | Sequence[str]) -> Any:
    parse: Parse = setting.metadata["parse"]
    if not setting.metadata["many"]:
        if not isinstance(raw, str):
            raise SettingError("must be one value, not a list")
        return parse(raw)
    items = raw.split() if isinstance(raw, str) else list(raw)
    split = setting.metadata["split"]
    if split:
        items = [part for item in items for part in item.split(split) if part]
    return tuple(parse(item) for item in items)


def _check_together(config: Config, sources: Mapping[str, str]) -> None:
    """Refuse settings that do not go together, by where they came from; `sources` has those that were given."""
    role, listen = sources.get("role", "--role"), sources.get("listen", "--listen")
    if not config.role:
        raise SettingError(f"{role}: name at least one role")
    check_cluster(config, sources)
    missing = [each for each in ROLES if each not in config.roles and each not in OPTIONAL_ROLES]
    if missing and not config.redis:
        raise SettingError(
            f"{role}: {', '.join(missing)} must run in the same process, or in others that share Redis with it: "
            "use --role all, or set --redis"
        )
    if not config.listen:
        raise SettingError(f"{listen}: name at least one listener")
    _check_workers(config, sources)
    _check_order(config, sources, "max_outbox_bytes", "max_node_outbox_bytes")
    _check_order(config, sources, "max_body_before_open_bytes", "max_body_bytes")
    _check_order(config, sources, "max_body_bytes", "max_cached_bytes_per_token")
    _check_order(config, sources, "max_cached_bytes_per_token", "max_cached_bytes")
    _check_credentials(config, sources)
    _check_webhook(config, sources)
    if "connector" in config.roles and not config.client_jwt_key_file and not config.allow_anonymous_clients:
        for listener in config.listen:
            _check_local(
                listen,
                listener.partition("=")[2],
                "clients need no credential: set --client-jwt-key-file to a file with a secret or a public key "
                "(or, where a token alone is protection enough, --allow-anonymous-clients)",
            )
    if not config.api_keys and "api" in config.roles:
        _check_local(
            sources.get("api", "--api"), config.api, "no key is set: make one with `pushctl key` and set --api-key"
        )


def _check_workers(config: Config, sources: Mapping[str, str]) -> None:
    """Refuse workers where the port cannot be shared between them."""
    if config.min_workers > config.workers:
        raise SettingError(
            f"{sources['min_workers']}: must not be over the number of workers ({config.workers}), "
            f"not {config.min_workers}"
        )
    if not config.workers:
        return
    for listen in config.listen:
        description = listen.partition("=")[2]
        if endpoint_text.split(description)[0] != "lean":
            raise SettingError(
                f"{sources['workers']}: {description} cannot be shared by several processes: "
                "use a lean endpoint with --listen, such as framed=lean:6789, or no --workers"
            )
        if endpoint_text.port(description) is None:
            raise SettingError(
                f"{sources['workers']}: {description} names no port that all of them could listen on: "
                "name one with --listen, such as framed=lean:6789"
            )


def _check_order(config: Config, sources: Mapping[str, str], less: str, more: str) -> None:
    """Refuse a limit that is over the one that it is part of."""
    small, large = getattr(config, less), getattr(config, more)
    if small <= large:
        return
    names = {each.name: f"--{option_name(each)}" for each in fields(Config)}
    if less in sources:
        where = sources.get(more, f"the default of {names[more]}")
        raise SettingError(f"{sources[less]}: must not be over {where} ({large}), not {small}")
    raise SettingError(f"{sources[more]}: must not be under the default of {names[less]} ({small}), not {large}")


def _check_credentials(config: Config, sources: Mapping[str, str]) -> None:
    """Refuse credentials that would not do what somebody meant by them."""
    names = [key.partition(":")[0] for key in config.api_keys]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingError(f"{sources['api_keys']}: more than one key is called {', '.join(map(repr, twice))}")
    if config.client_jwt_audience and not config.client_jwt_key_file:
        raise SettingError(
            f"{sources['client_jwt_audience']}: has no effect without --client-jwt-key-file: set that too, "
            "so that clients must show a JWT"
        )


def _check_webhook(config: Config, sources: Mapping[str, str]) -> None:
    """Refuse a webhook that would send in clear what others can read."""
    if not config.webhook_url:
        if config.webhook_secret_file:
            raise SettingError(f"{sources['webhook_secret_file']}: has no effect without --webhook-url: set that too")
        return
    if not config.webhook_events:
        raise SettingError(f"{sources['webhook_events']}: name at least one event, or set no --webhook-url")
    parts = urlsplit(config.webhook_url)
    if parts.scheme == "http" and not config.webhook_allow_http and not endpoint_text.is_loopback(parts.hostname or ""):
        raise SettingError(
            f"{sources['webhook_url']}: http is not encrypted, and {parts.hostname} is not this machine: use https "
            "(or, where nobody can listen on the way, --webhook-allow-http)"
        )


def _check_local(source: str, endpoint: str, lack: str) -> None:
    """Refuse an endpoint that is not known to be reached from this machine alone."""
    if endpoint_text.is_local(endpoint):
        return
    kind = endpoint_text.split(endpoint)[0]
    if not endpoint_text.is_known(endpoint):
        raise SettingError(
            f"{source}: unknown kind of endpoint {kind!r} in {endpoint}: use one of "
            f"{', '.join(endpoint_text.KINDS)}; or, if a plug-in provides it, whom it lets in cannot be told, "
            f"but {lack}"
        )
    if endpoint_text.interface(endpoint) is None:
        raise SettingError(f"{source}: whom {endpoint} lets in cannot be told, but {lack}")
    raise SettingError(
        f"{source}: {endpoint} can be reached from other machines, but {lack}, or add interface=127.0.0.1"
    )


def from_environment(options: Mapping[str, str | Sequence[str]], file: str | None) -> Config:
    """`load` with the process's environment."""
    return load(options, os.environ, file)
