"""What the settings say of the HTTP API."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.api_roles import api_settings
from push.config import Config


class ConnectionTests(SynchronousTestCase):
    """How many connections one address may have."""

    def most(self, open_files: int, **settings: int) -> int:
        most: int = api_settings(Config(**settings), Clock(), open_files).connections_per_address
        return most

    def test_it_is_a_share_of_all_unless_it_is_set(self) -> None:
        self.assertEqual(self.most(1_000_000), 150)
        self.assertEqual(self.most(1_024), 32)
        self.assertEqual(self.most(1_000_000, api_max_connections_per_address=600), 600)
        self.assertEqual(self.most(1_000_000, api_max_connections_per_address=1), 1)
