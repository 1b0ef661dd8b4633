"""Whom an endpoint lets in, read from its description."""

from twisted.internet.endpoints import _parse as twisted_parse
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from push import endpoint_text

LOCAL = (
    "tcp:6789:interface=127.0.0.1",
    "tcp:6789:127.0.0.1",
    "tcp:interface=127.0.0.1:port=6789",
    "tcp:6789:interface=127.8.8.8",
    "tcp:6789:interface=localhost",
    r"tcp:6789:interface=\:\:1",
    r"tcp6:6789:interface=\:\:1",
    r"ssl:443:privateKey=key.pem:interface=\:\:1",
    "ssl:443:key.pem:cert.pem:TLSv1:127.0.0.1",
    "unix:/run/push.sock",
    "lean:6789:interface=127.0.0.1",
    "lean:6789:127.0.0.1",
)
OPEN = (
    "",
    "tcp",
    "tcp:6789",
    "tcp:6789:interface=",
    "tcp:6789:interface=0.0.0.0",
    r"tcp:6789:interface=\:\:",
    r"tcp:6789:interface=\:\:ffff\:10.0.0.7",
    "tcp:6789:interface=10.0.0.7",
    "tcp:6789:interface=localhost.example.org",
    "tcp:6789:50:127.0.0.1",
    r"tcp:6789:interface=127.0.0.1:inter\face=0.0.0.0",
    "tcp6:6789",
    r"tcp6:6789:\:\:1",
    "ssl:443:privateKey=key.pem",
    "systemd:domain=INET:index=0",
    "haproxy:tcp:8080",
    "unknown:interface=127.0.0.1",
    "lean:6789",
    "unixx:/run/push.sock",
)


class IsLocalTests(SynchronousTestCase):
    """`is_local`."""

    def test_what_only_this_machine_can_reach_is_local(self) -> None:
        for description in LOCAL:
            self.assertTrue(endpoint_text.is_local(description), description)

    def test_everything_else_is_not_what_is_unknown_included(self) -> None:
        for description in OPEN:
            self.assertFalse(endpoint_text.is_local(description), description)


class SplitTests(SynchronousTestCase):
    """`split`, `interface` and `port`."""

    def test_descriptions_are_split_as_twisted_splits_them(self) -> None:
        for description in (*LOCAL, *OPEN):
            if not description:
                continue
            arguments, named = twisted_parse(description)
            kind, positional, ours = endpoint_text.split(description)
            self.assertEqual((kind, ours), (arguments[0], dict(named)), description)
            self.assertEqual(
                [each for each in positional if each], [each for each in arguments[1:] if each], description
            )

    def test_an_escaped_colon_belongs_to_the_address(self) -> None:
        self.assertEqual(endpoint_text.interface(r"tcp:1:interface=\:\:1"), "::1")

    def test_a_socket_of_another_kind_has_no_interface_and_no_port(self) -> None:
        self.assertIsNone(endpoint_text.interface("unix:/run/push.sock"))
        self.assertIsNone(endpoint_text.port("unix:/run/push.sock"))

    def test_only_endpoints_with_ports_can_have_wrong_ones(self) -> None:
        for description in ("tcp:0", "tcp:65535", "lean:port=1", "ssl:443:key.pem", "unix:x", "odd:x", "systemd:x"):
            self.assertIsNone(endpoint_text.wrong_port(description), description)
        for description, port in (("tcp:x", "x"), ("tcp6:port=65536", "65536"), ("lean", ""), ("tcp:²", "²")):
            self.assertEqual(endpoint_text.wrong_port(description), port)

    def test_the_kinds_of_twisted_and_of_this_package_are_known(self) -> None:
        for plugin in getPlugins(IStreamServerEndpointStringParser):
            self.assertIn(plugin.prefix, endpoint_text.KINDS)
            self.assertTrue(endpoint_text.is_known(f"{plugin.prefix}:1"))
        self.assertFalse(endpoint_text.is_known("odd:1"))

    def test_the_port_is_known_unless_the_system_chooses_it(self) -> None:
        self.assertEqual(endpoint_text.port("tcp:6789"), 6789)
        self.assertEqual(endpoint_text.port("tcp:port=6789"), 6789)
        for description in ("tcp:0", "tcp:http", "tcp:-1", "tcp:²", "tcp"):
            self.assertIsNone(endpoint_text.port(description), description)


class SharedTests(SynchronousTestCase):
    """Endpoints that several processes can listen on."""

    def test_the_port_is_reused_and_all_else_stays(self) -> None:
        for description, shared in {
            "lean:6789": "lean:6789:reusePort=1",
            "lean:6789:reusePort=0:backlog=9": "lean:6789:backlog=9:reusePort=1",
            r"lean:port=6789:interface=\:\:1": r"lean:port=6789:interface=\:\:1:reusePort=1",
        }.items():
            self.assertEqual(endpoint_text.shared(description), shared)
