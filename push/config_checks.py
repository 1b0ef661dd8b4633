"""Which settings go together: refuses those that would not do what somebody meant by them, or would let in anybody.

Each alone has been checked by push.settings; those of a cluster are in push.cluster_settings. Reads nothing but what
it is given. Imports nothing of Twisted.
"""

from collections.abc import Mapping
from dataclasses import fields
from urllib.parse import urlsplit

from push import endpoint_text
from push.cluster_settings import check_cluster
from push.config import Config, option_name
from push.settings import OPTIONAL_ROLES, ROLES, SettingError


def check_together(config: Config, sources: Mapping[str, str]) -> None:
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
