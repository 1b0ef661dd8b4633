"""Every setting of the server: its name, type, default, limits and help, in one frozen value.

How one is parsed is in push.settings, where they are read from in push.config_reading, which of them go together in
push.config_checks. Imports nothing of Twisted, so that it can be read and tested alone.
"""

from dataclasses import Field, dataclass
from typing import Any

from push import endpoint_text
from push.settings import (
    EVENTS,
    ROLES,
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
    group_changes_s: float = setting(
        1.0,
        "Least time between two notices to members of who has joined or left, in seconds, for up to 500 members, and "
        "as much longer as there are more; 0: no notices.",
        number(0, 3_600, False),
    )
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
