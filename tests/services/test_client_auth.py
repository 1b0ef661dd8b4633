"""Tests of push.services.client_auth. Times are the clock's that is passed in: the system's plays no part."""

import base64
import hashlib
import hmac
import json
import traceback
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import Unauthenticated
from push.isubscribe import IAuthenticator
from push.model_access import Identity
from push.services.client_auth import ClientKey, JwtAuthenticator, OpenDoor, load_key

SECRET = "0123456789abcdef0123456789abcdef"
NOW_S = 1_000_000.0  # 1970: what is valid then is long over by the system's clock


def pem(private_key: Any) -> bytes:
    """Its public half."""
    return private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def b64(data: bytes) -> str:
    """As JWTs write it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(payload: bytes, header: dict[str, Any] | None = None, secret: str = SECRET) -> str:
    """A JWT by hand, also of what no library would sign."""
    start = b64(json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()) + "." + b64(payload)
    return start + "." + b64(hmac.new(secret.encode(), start.encode(), hashlib.sha256).digest())


class OpenDoorTests(SynchronousTestCase):
    """No authentication."""

    def test_asks_for_nothing_and_proves_nothing(self) -> None:
        door = OpenDoor()
        verifyObject(IAuthenticator, door)
        self.assertIs(door.required, False)
        for credential in (None, "", "anything"):
            self.assertEqual(door.identify(credential), Identity(None))


class JwtCase(SynchronousTestCase):
    """With a secret."""

    def setUp(self) -> None:
        self.now_s = NOW_S
        self.authenticator = self.make(load_key(SECRET.encode()))

    def make(self, key: ClientKey, audience: str | None = None) -> JwtAuthenticator:
        """One with the test's clock."""
        return JwtAuthenticator(key, now_s=lambda: self.now_s, audience=audience)

    def token(self, **claims: Any) -> str:
        """A good one, but for these claims."""
        return jwt.encode({"sub": "alice", **claims}, SECRET, "HS256")

    def refusal(self, credential: str | None, authenticator: JwtAuthenticator | None = None) -> str:
        """The sentence, which gives nothing away."""
        error = self.assertRaises(Unauthenticated, (authenticator or self.authenticator).identify, credential)
        text = "".join(traceback.format_exception(error))
        self.assertNotIn(SECRET, text)
        for part in (credential or "").split("."):
            if len(part) > 8:
                self.assertNotIn(part, text)
        self.assertIsNone(error.__cause__)
        return str(error)


class JwtTests(JwtCase):
    """Claims and signatures."""

    def test_sub_is_the_uid(self) -> None:
        verifyObject(IAuthenticator, self.authenticator)
        self.assertIs(self.authenticator.required, True)
        self.assertEqual(self.authenticator.identify(self.token()).uid, "alice")
        self.assertEqual(self.authenticator.identify(self.token(sub="Zoë 📱")).uid, "Zoë 📱")

    def test_credential_is_demanded(self) -> None:
        for credential in (None, ""):
            self.assertIn("JWT", self.refusal(credential))

    def test_another_signature_is_refused(self) -> None:
        foreign = jwt.encode({"sub": "alice"}, SECRET[::-1], "HS256")
        self.assertIn("not signed", self.refusal(foreign))
        header, _, signature = self.token().split(".")
        forged = b64(json.dumps({"sub": "root"}).encode())
        self.assertIn("not signed", self.refusal(f"{header}.{forged}.{signature}"))

    def test_algorithm_is_the_keys_never_the_tokens(self) -> None:
        private_key = rsa.generate_private_key(65537, 2048)
        public = pem(private_key)
        by_public_key = self.make(load_key(public))
        confused = sign(b'{"sub":"alice"}', secret=public.decode())
        self.assertIn("RS256", self.refusal(confused, by_public_key))
        unsigned = sign(b'{"sub":"alice"}', {"alg": "none"})
        for credential in (unsigned, unsigned.rsplit(".", 1)[0] + ".", jwt.encode({"sub": "a"}, None, "none")):
            self.refusal(credential)
            self.refusal(credential, by_public_key)
        self.assertIn("HS256", self.refusal(jwt.encode({"sub": "alice"}, private_key, "RS256")))
        self.assertIn("HS256", self.refusal(jwt.encode({"sub": "alice"}, SECRET * 2, "HS512")))

    def test_key_in_the_header_is_not_believed(self) -> None:
        header = {"alg": "HS256", "jwk": {"kty": "oct", "k": b64(b"mine" * 8)}, "kid": "../../dev/null"}
        self.assertIn("not signed", self.refusal(sign(b'{"sub":"root"}', header, "mine" * 8)))

    def test_expiry_is_checked_on_the_given_clock_with_leeway(self) -> None:
        token = self.token(exp=int(NOW_S))
        self.now_s = NOW_S + 29.9
        self.assertEqual(self.authenticator.identify(token).uid, "alice")
        self.now_s = NOW_S + 30
        self.assertIn("expired", self.refusal(token))

    def test_how_long_it_lasts_is_said_with_leeway_in_whole_seconds(self) -> None:
        for expires_s, said_s in ((int(NOW_S), int(NOW_S) + 30), (NOW_S + 0.25, int(NOW_S) + 31)):
            self.assertEqual(self.authenticator.identify(self.token(exp=expires_s)), Identity("alice", said_s))
        self.assertEqual(self.authenticator.identify(self.token()), Identity("alice", 0))

    def test_beginning_is_checked_on_the_given_clock_with_leeway(self) -> None:
        token = self.token(nbf=int(NOW_S), iat=int(NOW_S) + 10**9)
        self.now_s = NOW_S - 30
        self.assertEqual(self.authenticator.identify(token).uid, "alice")
        self.now_s = NOW_S - 30.1
        self.assertIn("not valid yet", self.refusal(token))

    def test_times_must_be_times(self) -> None:
        for name in ("exp", "nbf"):
            for value in ('"1e9"', "true", "[]", "NaN", "Infinity", "-Infinity", "1e400", "9" * 2_000, "{}"):
                payload = f'{{"sub":"alice","{name}":{value}}}'.encode()
                self.assertIn(f"`{name}`", self.refusal(sign(payload)), value)

    def test_sub_must_be_a_uid(self) -> None:
        for value in ("null", "7", "true", "[]", '""', '"a\\u0000b"', '"\\ud800"', '"' + "x" * 129 + '"'):
            self.assertIn("`sub`", self.refusal(sign(f'{{"sub":{value}}}'.encode())), value)
        self.assertIn("`sub`", self.refusal(sign(b"{}")))

    def test_audience_must_be_named_where_one_is_configured(self) -> None:
        authenticator = self.make(load_key(SECRET.encode()), audience="push")
        self.assertEqual(authenticator.identify(self.token(aud="push")).uid, "alice")
        self.assertEqual(authenticator.identify(self.token(aud=["web", "push"])).uid, "alice")
        for claims in ({}, {"aud": "web"}, {"aud": []}, {"aud": ["pus", "h"]}):
            self.assertIn("audience", self.refusal(self.token(**claims), authenticator))

    def test_credential_for_an_audience_is_refused_where_none_is_configured(self) -> None:
        self.assertIn("audience", self.refusal(self.token(aud="billing")))

    def test_what_is_no_jwt_is_refused(self) -> None:
        deep = b"[" * 1_400
        for credential in (
            "x", "..", "a.b.c", "é.é.é", "\ud800.a.b", "a" * 4_096, "." * 4_096,
            f"{b64(deep)}.e30.", sign(deep), sign(b'{"sub":' + deep), sign(b"[]"), sign(b"\xff"), sign(b"null"),
            sign(b'{"sub":"alice"}', {"alg": "HS256", "crit": ["exp"], "exp": 1}),
            sign(b'{"sub":"alice"}', {"alg": "HS256", "b64": False}),
            sign(b'{"sub":"alice"}', {"alg": ["HS256"]}), sign(b'{"sub":"alice"}', {"alg": "HS256", "kid": 7}),
        ):  # fmt: skip
            self.refusal(credential)

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(st.text(max_size=60), st.binary(max_size=80).map(sign), st.from_regex(r"[\w-]+\.[\w-]+\.[\w-]*")))
    def test_garbage_only_ever_is_unauthenticated(self, credential: str) -> None:
        self.assertRaises(Unauthenticated, self.authenticator.identify, credential)


class KeyTests(JwtCase):
    """What a key file may hold."""

    def test_each_kind_of_public_key_has_its_algorithms(self) -> None:
        rsa_key = rsa.generate_private_key(65537, 2048)
        cases: list[tuple[Any, tuple[str, ...]]] = [
            (rsa_key, ("RS256", "PS256")),
            (ec.generate_private_key(ec.SECP256R1()), ("ES256",)),
            (ec.generate_private_key(ec.SECP384R1()), ("ES384",)),
            (ec.generate_private_key(ec.SECP521R1()), ("ES512",)),
            (ed25519.Ed25519PrivateKey.generate(), ("EdDSA",)),
        ]
        for private_key, algorithms in cases:
            authenticator = self.make(load_key(b"# our key\n" + pem(private_key)))
            for algorithm in algorithms:
                token = jwt.encode({"sub": "alice"}, private_key, algorithm)
                self.assertEqual(authenticator.identify(token).uid, "alice")
            self.assertIn(algorithms[0], self.refusal(self.token(), authenticator))
        stranger = jwt.encode({"sub": "alice"}, rsa.generate_private_key(65537, 2048), "RS256")
        self.assertIn("not signed", self.refusal(stranger, self.make(load_key(pem(rsa_key)))))

    def test_secret_must_have_32_bytes(self) -> None:
        for content in (b"", b"\n", b"x" * 31, b"x" * 31 + b"\n", b"x" * 31 + b"\r\n"):
            error = self.assertRaises(ValueError, load_key, content)
            self.assertIn("at least 32", str(error))
            self.assertNotIn("xxx", str(error))
        self.assertEqual(load_key(b"x" * 32).algorithms, ("HS256",))

    def test_line_break_behind_a_secret_of_text_is_not_part_of_it(self) -> None:
        for content in (SECRET, SECRET + "\n", SECRET + "\r\n"):
            self.assertEqual(load_key(content.encode()).key, SECRET.encode())

    def test_secret_that_is_no_text_is_taken_as_it_is(self) -> None:
        for content in (b"\x80" * 32 + b"\n", b"\x00" * 32 + b"\n", bytes(range(32))):
            self.assertEqual(load_key(content).key, content)

    def test_keys_that_cannot_be_used_are_refused_with_a_sentence(self) -> None:
        private_key = ec.generate_private_key(ec.SECP256R1())
        private = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for content, words in (
            (private, "private key"),
            (pem(private_key)[:-60], "cannot be read"),
            (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"),
            (pem(rsa.generate_private_key(65537, 1024)), "1024 bits"),
            (pem(ec.generate_private_key(ec.SECP256K1())), "not supported"),
            (pem(dsa.generate_private_key(1024)), "not supported"),
        ):
            self.assertIn(words, str(self.assertRaises(ValueError, load_key, content)))

    def test_key_in_another_form_than_pem_is_never_a_secret(self) -> None:
        spki = PublicFormat.SubjectPublicKeyInfo
        for private_key in (
            rsa.generate_private_key(65537, 2048),
            ec.generate_private_key(ec.SECP256R1()),
            ed25519.Ed25519PrivateKey.generate(),
        ):
            public_key = private_key.public_key()
            der = public_key.public_bytes(Encoding.DER, spki)
            private_der = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            encrypted = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
            text = pem(private_key).decode()
            ssh = public_key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
            for content, words in (
                (text.encode("utf-16"), "UTF-16"),
                (text.encode("utf-16-le"), "UTF-16"),
                (text.encode("utf-16-be"), "UTF-16"),
                (base64.b64encode(text.encode()), "without base64"),
                (text.replace("-----BEGIN", "---- BEGIN").encode(), "BEGIN PUBLIC KEY"),
                (der, "openssl"),
                (der + b"\r\n", "openssl"),
                (base64.b64encode(der), "openssl"),
                (base64.b64encode(der) + b"\n", "openssl"),
                (base64.encodebytes(der), "openssl"),
                (base64.urlsafe_b64encode(der).rstrip(b"="), "openssl"),
                (base64.b64encode(der).decode().encode("utf-16"), "openssl"),
                (private_der, "openssl"),
                (base64.b64encode(private_der), "openssl"),
                (encrypted, "openssl"),
                (ssh, "openssl"),
                (ssh.split()[1], "openssl"),
            ):
                self.assertIn(words, str(self.assertRaises(ValueError, load_key, content)), content)
        pkcs1 = rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        self.assertIn("openssl", str(self.assertRaises(ValueError, load_key, pkcs1)))

    def test_jwk_is_never_a_secret(self) -> None:
        public = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key())
        for text in (public, json.dumps(json.loads(public), indent=2), json.dumps({"keys": [json.loads(public)]})):
            for content in (
                text.encode(),
                b"\xef\xbb\xbf" + text.encode(),
                text.encode("utf-16"),
                base64.b64encode(text.encode()),
            ):
                self.assertIn("JWK", str(self.assertRaises(ValueError, load_key, content)))

    def test_pem_behind_much_text_is_the_public_key(self) -> None:
        key = load_key(b"# about it\n" * 200 + pem(ec.generate_private_key(ec.SECP256R1())))
        self.assertEqual(key.algorithms, ("ES256",))

    def test_secrets_that_look_a_little_like_keys_are_taken(self) -> None:
        for secret in (b"0" * 64, b"\x30\x82" + b"x" * 40, base64.b64encode(b"0\x82" + b"x" * 40), b"deadBEEF" * 8):
            self.assertEqual(load_key(secret).key, secret)

    def test_key_does_not_show_itself(self) -> None:
        key = load_key(SECRET.encode())
        self.assertNotIn(SECRET, repr(key))
        self.assertNotIn(SECRET, repr(self.make(key)))
