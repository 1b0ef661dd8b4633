"""Which settings of a cluster go together. Knows push.config only by what it is given; imports nothing of Twisted."""

from collections.abc import Mapping
from typing import Protocol

from push import endpoint_text
from push.settings import SettingError

# Roles that other nodes ask, or join: they must be reachable.
JOINED_ROLES = ("subscribe", "cache", "router", "group", "api")
_PEER_SETTINGS = ("peer", "peer_advertise", "peer_secret_file", "peer_tls_cert", "peer_tls_key", "peer_tls_ca")


class ClusterSettings(Protocol):
    """The settings that are looked at."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that run here."""

    @property
    def role(self) -> tuple[str, ...]:
        """As they were given."""

    @property
    def redis(self) -> str:
        """Where Redis is."""

    @property
    def peer(self) -> str:
        """Where other nodes reach this one."""

    @property
    def peer_advertise(self) -> str:
        """Likewise, as they know it."""

    @property
    def peer_tls_cert(self) -> str:
        """The node's certificate."""

    @property
    def peer_tls_key(self) -> str:
        """Its key."""

    @property
    def peer_tls_ca(self) -> str:
        """Who signs."""

    @property
    def workers(self) -> int:
        """Worker processes."""


def check_cluster(config: ClusterSettings, sources: Mapping[str, str]) -> None:
    """Refuse what cannot work.

    Args:
        config: all settings.
        sources: of those that were given, where.

    Raises:
        SettingError: says what is wrong and what to do.
    """
    if not config.redis:
        for name in _PEER_SETTINGS:
            if name in sources and getattr(config, name):
                raise SettingError(f"{sources[name]}: has no effect without --redis: nodes find one another there")
        return
    if config.workers:
        raise SettingError(
            f"{sources['workers']}: a node of a cluster has no workers: for several cores of one host, start as many "
            "processes with --role connector, each with a port of its own in --listen (docs/cluster.md, Several cores)"
        )
    if not config.peer:
        joined = [role for role in JOINED_ROLES if role in config.roles]
        if joined:
            raise SettingError(
                f"--peer: other nodes must reach {', '.join(joined)} here: say where, "
                "e.g. --peer tcp:7460:interface=10.0.0.7"
            )
        if config.peer_advertise:
            raise SettingError(f"{sources['peer_advertise']}: has no effect without --peer")
    else:
        _check_peer(config, sources)
    tls = {name: getattr(config, name) for name in ("peer_tls_cert", "peer_tls_key", "peer_tls_ca")}
    lacking = [name for name, value in tls.items() if not value]
    if 0 < len(lacking) < len(tls):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in lacking)
        raise SettingError(f"{options}: TLS between nodes needs a certificate, its key and who has signed it: set all")


def _check_peer(config: ClusterSettings, sources: Mapping[str, str]) -> None:
    source = sources["peer"]
    if endpoint_text.split(config.peer)[0] not in ("tcp", "tcp6"):
        raise SettingError(f"{source}: must be a tcp or tcp6 endpoint, such as tcp:7460:interface=10.0.0.7")
    if not config.peer_advertise and peer_address(config.peer) is None:
        raise SettingError(
            f"{source}: {config.peer} does not say at which address and port other nodes reach it: "
            "set --peer-advertise to that host:port"
        )


def peer_address(description: str) -> str | None:
    """The host:port of an endpoint, None where it does not say it."""
    host, port = endpoint_text.interface(description), endpoint_text.port(description)
    if host in (None, "", "0.0.0.0", "::") or port is None:
        return None
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
