"""Who may do what, out of settings: clients by JWT, applications by key. Part of the composition root."""

import time

from push.config import Config
from push.isubscribe import IAuthenticator
from push.model_access import ApiKey
from push.services.client_auth import JwtAuthenticator, OpenDoor, load_key
from push.settings import SettingError


def authenticator(config: Config) -> IAuthenticator:
    """Who clients are.

    Raises:
        SettingError: the key cannot be read, or is none.
    """
    path = config.client_jwt_key_file
    if not path:
        return OpenDoor()
    try:
        with open(path, "rb") as stream:
            key = load_key(stream.read())
    except OSError as error:
        raise SettingError(f"--client-jwt-key-file: cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingError(f"--client-jwt-key-file: {path}: {error}") from None
    return JwtAuthenticator(key, audience=config.client_jwt_audience or None, now_s=time.time)


def api_keys(config: Config) -> tuple[ApiKey, ...]:
    """The keys of the HTTP API."""
    return tuple(map(_api_key, config.api_keys))


def _api_key(text: str) -> ApiKey:
    name, rights, digest = text.split(":")
    return ApiKey(name, frozenset(rights.split("+")), bytes.fromhex(digest))
