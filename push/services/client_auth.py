"""Who a client is: nobody in particular, or the `sub` of a JWT that the application's own server has signed.

The key decides which algorithm is accepted, never the token. No secret and nothing of a credential goes into a
sentence. Must not import adapters, stores or web.
"""

import base64
import binascii
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_public_key,
)
from cryptography.x509 import load_der_x509_certificate
from zope.interface import implementer

from push.errors import Unauthenticated
from push.isubscribe import IAuthenticator
from push.model_access import Identity
from push.protocols.wire.messages import MAX_UID_CHARS, BodyError, check_text

# RFC 7518, 3.2: a key as long as the hash or longer. 3.3: RSA keys of 2048 bits or more.
MIN_SECRET_BYTES = 32
MIN_RSA_BITS = 2_048
# For clocks that differ a little: RFC 7519, 4.1.4, "usually no more than a few minutes".
LEEWAY_S = 30.0
# The end of the year 9999: what is beyond was not meant to be seconds.
_LAST_S = 253_402_300_800
# RFC 7518, 3.4: each curve has its algorithm.
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

_STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")
_NOBODY = Identity(None)
_DER_SEQUENCE = b"\x30"
# How public keys of OpenSSH begin, both as a line and, behind a length, inside of its base64.
_SSH = (b"ssh-", b"ecdsa-sha2-", b"sk-ssh-", b"sk-ecdsa-")


@dataclass(frozen=True, slots=True)
class ClientKey:
    """What credentials are verified with.

    Attributes:
        algorithms: those that this key is for, as JWTs name them.
        key: the secret or public key itself, as pyjwt takes it.
    """

    algorithms: tuple[str, ...]
    key: Any = field(repr=False)


def load_key(content: bytes) -> ClientKey:
    """Read the key of a file.

    Args:
        content: a public key in PEM (RSA, EC or Ed25519), or else a secret. One line break behind a secret that is
            text does not belong to it.

    Raises:
        ValueError: the secret is too short, the key cannot be used, or it is one in another form than PEM; says which
            and what to do.
    """
    if b"-----BEGIN " in content:
        return _load_public_key(content)
    _refuse_disguised_key(content)
    secret = content
    if content.isascii() and content.decode().rstrip("\r\n").isprintable():
        secret = content.removesuffix(b"\n").removesuffix(b"\r")
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(
            f"the secret has {len(secret)} bytes, but needs at least {MIN_SECRET_BYTES}: make one, e.g. with "
            "`openssl rand -hex 32`"
        )
    return ClientKey(("HS256",), secret)


def _refuse_disguised_key(content: bytes) -> None:
    """Refuse a key that is not PEM in ASCII: as a secret, everybody who has the public key could sign with it.

    Raises:
        ValueError: says what it is, and what to give instead.
    """
    text = content.replace(b"\0", b"").lstrip(b"\xff\xfe\xef\xbb\xbf")  # as UTF-16 and UTF-8 with their marks
    decoded = _from_base64(text)
    if any(b"BEGIN" in form for form in (text, decoded)):
        raise ValueError(
            "this looks like a key in PEM, but not in plain text (PowerShell's > writes UTF-16): save it in ASCII, "
            "without base64 around it, so that it has a line -----BEGIN PUBLIC KEY-----"
        )
    if any(b'"kty"' in form for form in (text, decoded)):
        raise ValueError("this is a JWK: give a public key in PEM (-----BEGIN PUBLIC KEY-----), or the secret itself")
    if text.lstrip().startswith(_SSH) or _is_der(content) or _is_der(decoded) or decoded[4:].startswith(_SSH):
        raise ValueError(
            "this is a key, but not in PEM: convert it, e.g. with `openssl pkey -pubin -inform DER -in … -out key.pem`"
        )


def _from_base64(text: bytes) -> bytes:
    """What is in base64 of either alphabet, with or without padding; b"" where it is none."""
    joined = b"".join(text.split()).translate(_STANDARD_BASE64).rstrip(b"=")
    try:
        return base64.b64decode(joined + b"=" * (-len(joined) % 4), validate=True)
    except binascii.Error:
        return b""


def _is_der(content: bytes) -> bool:
    """Whether this is a key or a certificate in DER, perhaps with a line break behind it."""
    if not content.startswith(_DER_SEQUENCE):
        return False
    loads: tuple[Callable[[bytes], object], ...] = (
        load_der_public_key,
        lambda data: load_der_private_key(data, None),
        load_der_x509_certificate,
    )
    for data in {content, content.removesuffix(b"\n").removesuffix(b"\r")}:
        for load in loads:
            try:
                load(data)
            except ValueError:
                continue
            except (TypeError, UnsupportedAlgorithm):  # encrypted, or of a kind that is not supported
                return True
            return True
    return False


def _load_public_key(content: bytes) -> ClientKey:
    if b"PRIVATE KEY-----" in content:
        raise ValueError("this is a private key: keep it where credentials are made, and give its public key here")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the public key cannot be read: it must be PEM (-----BEGIN PUBLIC KEY-----)") from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise ValueError(f"the RSA key has {key.key_size} bits, but needs at least {MIN_RSA_BITS}")
        return ClientKey(("RS256", "PS256"), key)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return ClientKey((_CURVES[key.curve.name],), key)
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return ClientKey(("EdDSA",), key)
    raise ValueError("this kind of public key is not supported: use RSA, EC (P-256, P-384, P-521) or Ed25519")


@implementer(IAuthenticator)
class OpenDoor:
    """Asks for nothing: whoever knows a token has it."""

    required = False

    def identify(self, credential: str | None) -> Identity:
        """Nobody in particular, whatever is shown."""
        return _NOBODY


@implementer(IAuthenticator)
class JwtAuthenticator:
    """Demands a JWT (RFC 7519) whose `sub` is the uid.

    Args:
        key: what it must be signed with.
        now_s: seconds since 1970.
        audience: what it must name in `aud`. Without one, a JWT that names any is refused, as RFC 7519, 4.1.3 demands.
    """

    required = True

    def __init__(self, key: ClientKey, *, now_s: Callable[[], float], audience: str | None = None) -> None:
        self._key = key
        self._now_s = now_s
        self._audience = audience

    def identify(self, credential: str | None) -> Identity:
        """The `sub` of a credential, and its `exp`; see IAuthenticator."""
        if not credential:
            raise Unauthenticated("a credential is needed: send a JWT as `auth`")
        claims = self._verified(credential)
        now_s = self._now_s()
        expires_s = _time(claims, "exp")
        if expires_s is not None and now_s >= expires_s + LEEWAY_S:
            raise Unauthenticated("the credential has expired: get a new one")
        begins_s = _time(claims, "nbf")
        if begins_s is not None and now_s < begins_s - LEEWAY_S:
            raise Unauthenticated("the credential is not valid yet")
        uid = claims.get("sub")
        if not isinstance(uid, str):
            raise Unauthenticated("the credential's `sub` must be the uid, a string")
        try:
            check_text(uid, "the credential's `sub`", MAX_UID_CHARS)
        except BodyError as error:
            raise Unauthenticated(str(error)) from None
        return Identity(uid, 0 if expires_s is None else math.ceil(expires_s + LEEWAY_S))

    def _verified(self, credential: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                credential,
                self._key.key,
                algorithms=list(self._key.algorithms),
                audience=self._audience,
                # pyjwt would look at the system's clock; what is left out here is checked by the caller.
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except jwt.InvalidSignatureError:
            raise Unauthenticated("the credential is not signed with this server's key") from None
        except jwt.InvalidAlgorithmError:
            allowed = " or ".join(self._key.algorithms)
            raise Unauthenticated(f"the credential must be signed with {allowed}") from None
        except (jwt.InvalidAudienceError, jwt.MissingRequiredClaimError):
            raise Unauthenticated("the credential is for another audience") from None
        # RecursionError: JSON nested deeply. ValueError: what pyjwt lets through of base64 and UTF-8.
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Unauthenticated("the credential is not a JWT") from None


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, bool) and isinstance(value, int | float) and abs(value) < _LAST_S:  # so NaN is refused too
        return value
    raise Unauthenticated(f"the credential's `{name}` must be a time in seconds")
