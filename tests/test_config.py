"""Settings: where they come from, what they may be, and what is said when they are wrong."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push import config, config_reading
from push.config import Config
from push.model_receipts import Event
from push.settings import EVENTS, SettingError

KEY = "backend:push+read:" + "a1" * 32
OTHER_KEY = "ops:manage:" + "b2" * 32
# A good value of each setting, other than its default, as text and as what becomes of it.
GOOD: dict[str, tuple[str, Any]] = {
    "redis": ("redis://10.0.0.5:6379/2", "redis://10.0.0.5:6379/2"),
    "peer": ("tcp:7461:interface=10.0.0.7", "tcp:7461:interface=10.0.0.7"),
    "peer_advertise": ("10.0.0.7:7460", "10.0.0.7:7460"),
    "lease_s": ("12.5", 12.5),
    "health": ("tcp:8081:interface=127.0.0.1", "tcp:8081:interface=127.0.0.1"),
    "role": ("subscribe,cache,connector,router,api", ("subscribe", "cache", "connector", "router", "api")),
    "listen": ("framed=tcp:1234:interface=127.0.0.1", ("framed=tcp:1234:interface=127.0.0.1",)),
    "advertise_protocols": ("websocket=10.0.0.7:443,lines=h:1", ("websocket=10.0.0.7:443", "lines=h:1")),
    "advertise": ("10.0.0.7:6789", "10.0.0.7:6789"),
    "api": ("tcp:1235:interface=127.0.0.1", "tcp:1235:interface=127.0.0.1"),
    "data_dir": ("/srv/push", "/srv/push"),
    "node_id": ("7", 7),
    "api_keys": (f"{KEY},{OTHER_KEY}", (KEY, OTHER_KEY)),
    "client_jwt_key_file": ("/srv/key.pem", "/srv/key.pem"),
    "client_jwt_audience": ("push", "push"),
    "allow_anonymous_clients": ("true", True),
    "allowed_origins": ("https://example.org,*", ("https://example.org", "*")),
    "log_format": ("json", "json"),
    "log_level": ("warn", "warn"),
    "max_node_outbox_bytes": ("99999999", 99_999_999),
    "max_cached_bytes": ("99999999", 99_999_999),
    "max_cached_bytes_per_token": ("99999999", 99_999_999),
    "max_body_bytes": ("8192", 8_192),
    "default_interval_s": ("60", 60.0),
    "workers": ("4", 4),
    "min_workers": ("3", 3),
    "webhook_url": ("https://example.org/events?for=push", "https://example.org/events?for=push"),
    "webhook_secret_file": ("/srv/hook.key", "/srv/hook.key"),
    "webhook_events": ("delivered,sent", ("delivered", "sent")),
    "webhook_allow_http": ("true", True),
}
OTHERS = "3000"
# What a setting makes no sense without.
REDIS = "redis://10.0.0.5:6379/1"
PEER = "tcp:7460:interface=10.0.0.7"
TLS = ("peer_tls_cert", "peer_tls_key", "peer_tls_ca")

BESIDES: dict[str, dict[str, str]] = {
    "client_jwt_audience": {"client_jwt_key_file": "/srv/key.pem"},
    "webhook_secret_file": {"webhook_url": "https://example.org/events"},
    "min_workers": {"workers": "4"},
    "redis": {"peer": PEER},
    "peer": {"redis": REDIS},
    "peer_advertise": {"redis": REDIS, "peer": PEER},
    "peer_secret_file": {"redis": REDIS, "peer": PEER},
    **{name: {"redis": REDIS, "peer": PEER} | {each: "a.pem" for each in TLS if each != name} for name in TLS},
}


def good(name: str) -> tuple[str, Any]:
    """A good value of a setting, as text and parsed."""
    if name in GOOD:
        return GOOD[name]
    kind = type(getattr(Config(), name))
    text = "500" if name.endswith("_s") and "per" not in name else OTHERS
    return text, kind(text)


def _ordered(roles: str) -> tuple[str, ...]:
    return tuple(role for role in ("subscribe", "cache", "connector", "router", "api") if role in roles.split(","))


class LoadTestCase(SynchronousTestCase):
    """Loads settings."""

    def load(self, toml: str = "", options: Any = None, **environment: str) -> Config:
        """Load from these three places."""
        path = None
        if toml:
            path = self.mktemp()
            Path(path).write_text(toml)
        return config_reading.load(options or {}, environment, path)

    def refusal(self, toml: str = "", options: Any = None, **environment: str) -> str:
        """What is said when these are refused."""
        return str(self.assertRaises(SettingError, self.load, toml, options, **environment))


class SourceTests(LoadTestCase):
    """The command line, the environment, the file."""

    def test_without_any_the_defaults_are_good(self) -> None:
        settings = self.load()
        self.assertEqual(settings, Config())
        self.assertEqual(settings.roles, ("subscribe", "cache", "connector", "router", "group", "api"))

    def test_every_setting_can_come_from_every_place(self) -> None:
        for setting in fields(Config):
            name = setting.name
            text, value = good(name)
            besides = BESIDES.get(name, {})
            self.assertNotEqual(value, setting.default, name)
            for settings in (
                self.load(f"{name} = '{text}'", besides),
                self.load(options=besides, **{config.environment_name(setting): text}),
                self.load(options={name: [text] if setting.metadata["many"] else text, **besides}),
            ):
                self.assertEqual(getattr(settings, name), value, name)

    def test_the_command_line_beats_the_environment_and_that_the_file(self) -> None:
        cases = {
            "node_id": ("1", "2", "3"),
            "idle_grace_s": ("1.5", "2.5", "3.5"),
            "data_dir": ("a", "b", "c"),
            "log_format": ("json", "text", "json"),
            "allow_anonymous_clients": ("true", "false", "true"),
            "listen": tuple(f"framed=tcp:{port}:interface=127.0.0.1" for port in (1, 2, 3)),
        }
        for setting in fields(Config):
            if setting.name not in cases:
                continue
            in_file, in_environment, given = cases[setting.name]
            toml, environment = f"{setting.name} = '{in_file}'", {config.environment_name(setting): in_environment}
            parse = setting.metadata["parse"]
            many = setting.metadata["many"]
            for text, settings in (
                (in_file, self.load(toml)),
                (in_environment, self.load(toml, **environment)),
                (given, self.load(toml, {setting.name: [given] if many else given}, **environment)),
            ):
                expected = (parse(text),) if many else parse(text)
                self.assertEqual(getattr(settings, setting.name), expected, setting.name)

    def test_the_file_may_use_tomls_own_types(self) -> None:
        settings = self.load(
            "node_id = 5\nidle_grace_s = 2.5\nstop_timeout_s = 3\nallow_anonymous_clients = true\n"
            'listen = ["framed=tcp:1:interface=127.0.0.1", "framed=tcp:2:interface=127.0.0.1"]'
        )
        self.assertEqual((settings.node_id, settings.idle_grace_s, settings.stop_timeout_s), (5, 2.5, 3.0))
        self.assertIs(settings.allow_anonymous_clients, True)
        self.assertEqual(len(settings.listen), 2)

    def test_the_environment_may_name_the_file_which_the_command_line_overrides(self) -> None:
        first, second = self.mktemp(), self.mktemp()
        Path(first).write_text("node_id = 1")
        Path(second).write_text("node_id = 2")
        self.assertEqual(config_reading.load({}, {"PUSH_CONFIG": first}, None).node_id, 1)
        self.assertEqual(config_reading.load({}, {"PUSH_CONFIG": first}, second).node_id, 2)
        self.assertEqual(config_reading.load({}, {"PUSH_CONFIG": ""}, None).node_id, 0)

    def test_an_empty_variable_of_the_environment_is_not_set(self) -> None:
        self.assertEqual(self.load(**{config.environment_name(setting): "" for setting in fields(Config)}), Config())
        self.assertEqual(self.load("node_id = 5", PUSH_NODE_ID="").node_id, 5)

    def test_other_variables_of_the_environment_are_not_its_business(self) -> None:
        self.assertEqual(self.load(PATH="/bin", PUSHED="x", PUSH_TEST_REDIS_URL="x"), Config())


class RefusalTests(LoadTestCase):
    """A wrong setting names itself, where it came from, and the fix."""

    def test_the_place_it_came_from_is_named(self) -> None:
        self.assertIn("--node-id: must be a whole number, not 'x'", self.refusal(options={"node_id": "x"}))
        self.assertIn("PUSH_NODE_ID: must be 0 to 1023", self.refusal(PUSH_NODE_ID="1024"))
        self.assertRegex(self.refusal("node_id = 1.5"), r"^node_id in \S+: must be a whole number")
        self.assertIn("--api-key:", self.refusal(options={"api_keys": ["x"]}))

    def test_numbers_are_checked_for_type_and_range(self) -> None:
        for setting in fields(Config):
            if not isinstance(setting.default, int | float) or isinstance(setting.default, bool):
                continue
            for text in (" ", "x", "-1", "nan", "inf", "1e400", "9" * 30, "٣x"):
                sentence = self.refusal(**{config.environment_name(setting): text})
                self.assertIn(config.environment_name(setting), sentence)
                self.assertIn("must be", sentence)

    def test_words_must_be_among_those_that_there_are(self) -> None:
        self.assertIn("text, json", self.refusal(PUSH_LOG_FORMAT="xml"))
        self.assertIn("debug, info, warn, error", self.refusal(PUSH_LOG_LEVEL="loud"))
        self.assertIn("true or false", self.refusal(PUSH_ALLOW_ANONYMOUS_CLIENTS="perhaps"))

    def test_roles_must_exist_and_be_complete(self) -> None:
        self.assertIn("subscribe, cache, connector, router, group, api", self.refusal(PUSH_ROLE="broker"))
        self.assertIn("must run in the same process", self.refusal(PUSH_ROLE="group"))
        self.assertNotIn("group", self.load(PUSH_ROLE="subscribe,cache,connector,router,api").roles)
        self.assertIn("api must run in the same process", self.refusal(PUSH_ROLE="subscribe,cache,connector,router"))
        self.assertIn("at least one", self.refusal(options={"role": []}))

    def test_with_redis_any_of_the_roles_may_run(self) -> None:
        for role in ("subscribe", "cache", "router", "api", "router,subscribe"):
            self.assertEqual(self.load(PUSH_ROLE=role, PUSH_REDIS=REDIS, PUSH_PEER=PEER).roles, _ordered(role))
        self.assertEqual(self.load(PUSH_ROLE="connector", PUSH_REDIS=REDIS).roles, ("connector",))

    def test_what_a_node_of_a_cluster_cannot_be_is_refused(self) -> None:
        cluster = {"PUSH_REDIS": REDIS, "PUSH_PEER": PEER}
        self.assertIn("must reach router", self.refusal(PUSH_ROLE="router", PUSH_REDIS=REDIS))
        self.assertIn("has no effect without --redis", self.refusal(PUSH_PEER=PEER))
        self.assertIn("no workers", self.refusal(**cluster, PUSH_WORKERS="2"))
        self.assertIn("--peer-advertise", self.refusal(PUSH_REDIS=REDIS, PUSH_PEER="tcp:7460"))
        self.assertIn("--peer-advertise", self.refusal(PUSH_REDIS=REDIS, PUSH_PEER="tcp:0:interface=10.0.0.7"))
        self.assertIn("tcp or tcp6", self.refusal(PUSH_REDIS=REDIS, PUSH_PEER="unix:/run/peer"))
        self.assertIn(
            "without --peer", self.refusal(PUSH_ROLE="connector", PUSH_REDIS=REDIS, PUSH_PEER_ADVERTISE="a:1")
        )
        self.assertIn("--peer-tls-key, --peer-tls-ca", self.refusal(**cluster, PUSH_PEER_TLS_CERT="a.pem"))

    def test_a_node_without_clients_or_api_may_name_them_as_it_likes(self) -> None:
        self.load(PUSH_ROLE="router", PUSH_REDIS=REDIS, PUSH_PEER=PEER, PUSH_LISTEN="framed=tcp:1", PUSH_API="tcp:2")

    def test_listeners_and_endpoints_must_look_like_such(self) -> None:
        for text in ("tcp:6789", "framed", "framed=", "framed=6789", "=tcp:1", "two words=tcp:1"):
            self.assertIn("PROTOCOL=ENDPOINT", self.refusal(options={"listen": [text]}), text)
        self.assertIn("at least one", self.refusal("listen = []"))
        for text in ("", "8080"):
            self.assertIn("ENDPOINT", self.refusal(options={"api": text}))
        for text in ("10.0.0.7", "10.0.0.7:", ":6789", "10.0.0.7:0", "10.0.0.7:65536", "10.0.0.7:²"):
            self.assertIn("HOST:PORT", self.refusal(PUSH_ADVERTISE=text), text)
        self.assertIn("empty", self.refusal(PUSH_DATA_DIR=" "))

    def test_cache_of_a_token_holds_the_largest_message_and_no_more_than_the_whole_cache(self) -> None:
        self.assertRegex(
            self.refusal("max_cached_bytes_per_token = 65535"),
            r"^max_cached_bytes_per_token in \S+: must not be under the default of --max-body-bytes \(65536\), not",
        )
        self.assertIn(
            "must not be under the default of --max-cached-bytes-per-token",
            self.refusal(options={"max_cached_bytes": "70000"}),
        )

    def test_limits_must_go_together(self) -> None:
        sentence = self.refusal("max_outbox_bytes = 100000", PUSH_MAX_NODE_OUTBOX_BYTES="70000")
        self.assertRegex(
            sentence, r"^max_outbox_bytes in \S+: must not be over PUSH_MAX_NODE_OUTBOX_BYTES \(70000\), not 100000$"
        )
        self.assertEqual(
            self.refusal(options={"max_body_before_open_bytes": "70000"}),
            "--max-body-before-open-bytes: must not be over the default of --max-body-bytes (65536), not 70000",
        )
        self.assertEqual(
            self.refusal(PUSH_MAX_BODY_BYTES="2000"),
            "PUSH_MAX_BODY_BYTES: must not be under the default of --max-body-before-open-bytes (4096), not 2000",
        )

    def test_what_does_not_go_together_is_named_by_the_place_it_came_from(self) -> None:
        self.assertTrue(self.refusal(PUSH_ROLE="api").startswith("PUSH_ROLE: "))
        self.assertRegex(self.refusal("role = 'api'"), r"^role in \S+: ")
        self.assertRegex(self.refusal("listen = []"), r"^listen in \S+: name at least one")
        self.assertTrue(self.refusal(PUSH_LISTEN="framed=tcp:7000").startswith("PUSH_LISTEN: tcp:7000 can be"))
        self.assertRegex(self.refusal("api = 'tcp:7000'"), r"^api in \S+: tcp:7000 can be")

    def test_workers_need_a_port_that_can_be_shared(self) -> None:
        for listen in ("tcp:6789:interface=127.0.0.1", "ssl:6789:interface=127.0.0.1", "unix:/srv/s"):
            said = self.refusal(
                options={"workers": "2", "listen": ["framed=lean:1:interface=127.0.0.1", f"framed={listen}"]}
            )
            self.assertEqual(said.partition(" cannot be shared")[0], f"--workers: {listen}")
        self.assertIn("names no port", self.refusal(PUSH_LISTEN="framed=lean:0:interface=127.0.0.1", PUSH_WORKERS="1"))
        self.load(options={"workers": "2", "listen": ["framed=lean:1:interface=127.0.0.1:backlog=9"]})

    def test_no_more_workers_may_be_demanded_than_there_are(self) -> None:
        self.assertIn("min_workers in ", self.refusal("min_workers = 3\nworkers = 2"))
        self.assertIn("--min-workers", self.refusal(options={"min_workers": "1"}))

    def test_a_port_must_be_a_number(self) -> None:
        for port in ("abc", "-1", "65536", "²", "9" * 5000, "1.5"):
            for sentence in (
                self.refusal(PUSH_LISTEN=f"framed=tcp:{port}"),
                self.refusal(PUSH_API=f"ssl:{port}:key.pem", PUSH_API_KEYS=KEY),
                self.refusal(PUSH_API=f"lean:port={port}:interface=127.0.0.1"),
            ):
                self.assertIn(f"its port must be a number of 0 to 65535, not '{port}'", sentence)
        self.assertIn("not ''", self.refusal(PUSH_API="tcp:interface=127.0.0.1"))

    def test_an_audience_without_a_key_that_signs_is_refused(self) -> None:
        sentence = self.refusal(PUSH_CLIENT_JWT_AUDIENCE="push")
        self.assertTrue(sentence.startswith("PUSH_CLIENT_JWT_AUDIENCE: has no effect without"), sentence)
        self.assertIn("--client-jwt-key-file", sentence)

    def test_an_unknown_setting_in_the_file_is_named(self) -> None:
        self.assertRegex(self.refusal("nodeid = 1"), r"^nodeid in .*no such setting")
        self.assertRegex(self.refusal("[limits]\nx = 1"), r"^limits in ")

    def test_values_that_no_setting_can_have_are_refused(self) -> None:
        for toml in ("node_id = [1]", "node_id = 2026-11-23", "listen = [1]", "listen = [['x']]", "node_id = ['1']"):
            self.assertIn("must be", self.refusal(toml))
        self.assertRegex(
            self.refusal("max_connections = true"), r"^max_connections in \S+: must be a whole number, not true$"
        )
        self.assertIn("must be a number, not false", self.refusal("idle_grace_s = false"))
        self.assertIn("must be a text, not true", self.refusal("data_dir = true"))
        self.assertIn("must be a list of texts, not true", self.refusal("listen = true"))
        self.assertEqual(self.load('max_connections = "5"').max_connections, 5)

    def test_a_file_that_cannot_be_read_is_named_with_the_reason(self) -> None:
        self.assertIn(
            "No such file", str(self.assertRaises(SettingError, config_reading.load, {}, {}, "/nowhere/push.toml"))
        )
        self.assertIn("directory", str(self.assertRaises(SettingError, config_reading.load, {}, {}, os.curdir)))
        self.assertIn("is not TOML", self.refusal("node_id 1"))
        path = self.mktemp()
        Path(path).write_bytes(b"node_id = '\xff'")
        self.assertIn("is not TOML", str(self.assertRaises(SettingError, config_reading.load, {}, {}, path)))

    def test_a_wrong_key_is_not_repeated(self) -> None:
        for text in ("hunter2secret", "backend:hunter2secret", f"backend:fly:{'a' * 64}", "backend:push:hunter2secret"):
            for sentence in (
                self.refusal(PUSH_API_KEYS=text),
                self.refusal(options={"api_keys": [text]}),
                self.refusal(f"api_keys = ['{text}']"),
            ):
                self.assertNotIn("hunter2", sentence)
                self.assertIn("pushctl key", sentence)

    def test_the_wrong_part_of_a_key_is_named(self) -> None:
        digest = "a1" * 32
        for text, part in (
            (digest, "three parts"),
            (f"backend:push:{digest}:x", "three parts"),
            (f":push:{digest}", "its NAME is empty"),
            (f"backend:push+fly:{digest}", "its RIGHTS must be of push, read, manage"),
            (f"backend::{digest}", "its RIGHTS"),
            (f"backend:push:{digest[1:]}", "its SHA256"),
            (f"backend:push:{digest.upper()}", "its SHA256"),
        ):
            sentence = self.refusal(options={"api_keys": [text]})
            self.assertIn(part, sentence)
            for secret in (digest[1:], digest.upper(), "fly"):
                self.assertNotIn(secret, sentence)

    def test_two_keys_of_one_name_are_refused(self) -> None:
        sentence = self.refusal(PUSH_API_KEYS=f"{KEY},{OTHER_KEY},backend:read:{'c3' * 32}")
        self.assertEqual(sentence, "PUSH_API_KEYS: more than one key is called 'backend'")


class WebhookTests(LoadTestCase):
    """Where events go, and how safely."""

    def test_a_url_is_http_or_https_with_a_host_and_nothing_secret_in_its_authority(self) -> None:
        for url in ("https://example.org", "https://[2001:db8::1]:8443/a?b=c", "http://127.0.0.1:9000/x"):
            self.assertEqual(self.load(PUSH_WEBHOOK_URL=url).webhook_url, url)
        for url in (
            "example.org/hunter2",
            "ftp://example.org/hunter2",
            "https:///hunter2",
            "https://example.org:99999/hunter2",
            "https://example.org:0/hunter2",
            "https://example.org/hunter2#x",
            "https://me:hunter2@example.org/",
            "https://example.org/hunter2\r\nX: y",
            "https://exämple.org/hunter2",
            "https://[::1/hunter2",
        ):
            sentence = self.refusal(PUSH_WEBHOOK_URL=url)
            self.assertIn("PUSH_WEBHOOK_URL: must", sentence)
            self.assertNotIn("hunter2", sentence)

    def test_http_leaves_this_machine_only_where_it_is_allowed(self) -> None:
        for url in ("http://127.0.0.1/x", "http://localhost:9/x", "http://[::1]/x"):
            self.load(PUSH_WEBHOOK_URL=url)
        for url in ("http://example.org/hunter2", "http://10.0.0.7/hunter2", "http://localhost.example.org/hunter2"):
            sentence = self.refusal(PUSH_WEBHOOK_URL=url)
            self.assertIn("--webhook-allow-http", sentence)
            self.assertNotIn("hunter2", sentence)
            self.load(PUSH_WEBHOOK_URL=url, PUSH_WEBHOOK_ALLOW_HTTP="true")

    def test_events_are_those_that_there_are(self) -> None:
        self.assertIn("must be one of sent,", self.refusal(PUSH_WEBHOOK_EVENTS="delivered,lost"))
        url = "https://example.org"
        self.assertIn("name at least one event", self.refusal(f"webhook_events = []\nwebhook_url = '{url}'"))
        self.assertEqual(EVENTS, tuple(event.name.lower() for event in Event))

    def test_a_secret_without_a_url_has_no_effect_and_is_refused(self) -> None:
        self.assertIn("--webhook-url", self.refusal(PUSH_WEBHOOK_SECRET_FILE="/srv/hook.key"))


class ClosedByDefaultTests(LoadTestCase):
    """What other machines can reach needs a credential."""

    ELSEWHERE = ("tcp:7000", "tcp:7000:interface=0.0.0.0", r"tcp6:7000:interface=\:\:", "tcp:7000:10.0.0.7")

    def test_a_listener_for_other_machines_needs_credentials_of_clients(self) -> None:
        for endpoint in self.ELSEWHERE:
            listen = {"listen": [f"framed={endpoint}"]}
            sentence = self.refusal(options=listen)
            self.assertTrue(sentence.startswith(f"--listen: {endpoint} can be reached from other machines"), sentence)
            self.assertIn("set --client-jwt-key-file", sentence)
            self.load(options=listen, PUSH_CLIENT_JWT_KEY_FILE="/srv/key.pem")
            self.load(options=listen, PUSH_ALLOW_ANONYMOUS_CLIENTS="yes")

    def test_one_open_listener_among_local_ones_is_enough_to_refuse(self) -> None:
        listen = ["framed=tcp:1:interface=127.0.0.1", "framed=tcp:2", "framed=tcp:3:interface=127.0.0.1"]
        self.assertIn("tcp:2 ", self.refusal(options={"listen": listen}))

    def test_an_api_for_other_machines_needs_keys(self) -> None:
        for endpoint in self.ELSEWHERE:
            sentence = self.refusal(options={"api": endpoint})
            self.assertTrue(sentence.startswith(f"--api: {endpoint} can be reached from other machines"), sentence)
            self.assertIn("set --api-key", sentence)
            self.load(PUSH_API=endpoint, PUSH_API_KEYS=KEY)

    def test_clients_come_in_at_the_api_only_where_they_might_anyway(self) -> None:
        afar = {"PUSH_API": "tcp:8080", "PUSH_API_KEYS": "backend:push+read:" + "0" * 64}
        self.assertTrue(self.load().has_clients_at_api)
        self.assertFalse(self.load(**afar).has_clients_at_api)
        self.assertTrue(self.load(**afar, PUSH_ALLOW_ANONYMOUS_CLIENTS="true").has_clients_at_api)
        self.assertTrue(self.load(**afar, PUSH_CLIENT_JWT_KEY_FILE="/srv/key").has_clients_at_api)

    def test_an_origin_has_no_path(self) -> None:
        for origin in ("*", "null", "https://example.org", "http://10.0.0.7:3000"):
            self.assertEqual(self.load(PUSH_ALLOWED_ORIGINS=origin).allowed_origins, (origin,))
        for origin in ("example.org", "https://example.org/", "https://me@example.org", "https://", "http://x:99999"):
            self.assertIn("PUSH_ALLOWED_ORIGINS: must be an origin", self.refusal(PUSH_ALLOWED_ORIGINS=origin))

    def test_an_endpoint_of_a_kind_that_only_a_plug_in_may_know_needs_credentials(self) -> None:
        for endpoint in ("odd:7000", "odd:7000:interface=127.0.0.1"):
            for sentence, fix in (
                (self.refusal(options={"listen": [f"framed={endpoint}"]}), "set --client-jwt-key-file"),
                (self.refusal(options={"api": endpoint}), "set --api-key"),
            ):
                self.assertIn(f": unknown kind of endpoint 'odd' in {endpoint}: use one of tcp, tcp6, ssl, ", sentence)
                self.assertIn("if a plug-in provides it, whom it lets in cannot be told", sentence)
                self.assertIn(fix, sentence)
            self.load(options={"listen": [f"framed={endpoint}"]}, PUSH_ALLOW_ANONYMOUS_CLIENTS="yes")

    def test_an_endpoint_that_does_not_say_whom_it_lets_in_needs_credentials(self) -> None:
        for endpoint in ("systemd:domain=INET:index=0", "haproxy:tcp:8080"):
            sentence = self.refusal(options={"api": endpoint})
            self.assertTrue(sentence.startswith(f"--api: whom {endpoint} lets in cannot be told"), sentence)
            self.load(PUSH_API=endpoint, PUSH_API_KEYS=KEY)

    def test_clients_credentials_do_not_open_the_api_nor_keys_the_listeners(self) -> None:
        self.refusal(PUSH_API="tcp:1", PUSH_CLIENT_JWT_KEY_FILE="/srv/key.pem", PUSH_ALLOW_ANONYMOUS_CLIENTS="yes")
        self.refusal(PUSH_LISTEN="framed=tcp:1", PUSH_API_KEYS=KEY)
