"""Where workers meet their parent: a socket for its owner alone, however long its path."""

import os
import socket
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from push.errors import StartError
from push.protocols.peer.place import MeetingPlace, ShortPath


class MeetingPlaceTests(TestCase):
    """On a real socket."""

    def place(self, directory: Path) -> MeetingPlace:
        """A place that is closed at the end."""
        place = MeetingPlace(directory, Factory.forProtocol(Protocol), reactor=reactor)
        self.addCleanup(place.close)
        return place

    def check_reachable(self, place: MeetingPlace) -> None:
        """Connect, as a worker does."""
        path = ShortPath(place.path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path.text)
        path.close()

    def test_only_its_owner_can_open_it(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(mode=0o755, parents=True)
        place = self.place(directory)
        before = os.umask(0)
        try:
            place.open()
        finally:
            os.umask(before)
        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
        self.assertEqual(place.path.stat().st_mode & 0o777, 0o600)
        self.check_reachable(place)

    def test_a_path_longer_than_a_socket_may_have_will_do(self) -> None:
        directory = Path(self.mktemp()).resolve().joinpath(*["d" * 80] * 3)
        place = self.place(directory)
        place.open()
        self.assertGreater(len(str(place.path)), 200)
        self.assertTrue(place.path.is_socket())
        self.check_reachable(place)

    def test_what_a_killed_server_left_is_replaced(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        path = ShortPath(directory / "peer.sock")
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path.text)
        path.close()
        place = self.place(directory)
        place.open()
        self.check_reachable(place)

    async def test_nothing_is_left_when_it_is_closed_and_that_may_happen_twice(self) -> None:
        place = self.place(Path(self.mktemp()).resolve().joinpath(*["d" * 80] * 3))
        place.open()  # Twisted opens files of its own at the first time
        await place.close()
        descriptors = len(os.listdir("/proc/self/fd"))
        place.open()
        await place.close()
        await place.close()
        self.assertFalse(place.path.exists())
        self.assertEqual(len(os.listdir("/proc/self/fd")), descriptors)

    def test_a_directory_that_cannot_be_made_is_one_sentence(self) -> None:
        file = Path(self.mktemp())
        file.write_text("a file")
        error = self.assertRaises(StartError, self.place(file / "run").open)
        self.assertIn("cannot make a socket for workers", str(error))
