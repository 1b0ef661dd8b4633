"""What a log line looks like, and where it goes."""

import json
import signal
import sys
from io import StringIO
from pathlib import Path

from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from push import logs


class ObserverTests(SynchronousTestCase):
    """`observer`."""

    def log_to(self, log_format: str, log_level: str = "debug") -> tuple[Logger, StringIO]:
        """A logger, and what is written of it."""
        stream = StringIO()
        publisher = LogPublisher(logs.observer(stream, log_format, log_level))
        return Logger("push.test", observer=publisher), stream

    def test_json_is_one_object_a_line_whatever_the_message_holds(self) -> None:
        log, stream = self.log_to("json")
        texts = ["plain", "two\nlines", "schön", "lone \udcff", 'quotes " and \\', "\x1b[31m"]
        for text in texts:
            log.info("{text}", text=text)
        lines = stream.getvalue().splitlines()
        self.assertEqual([json.loads(line)["message"] for line in lines], texts)
        self.assertTrue(stream.getvalue().isascii())
        first = json.loads(lines[0])
        self.assertEqual((first["level"], first["system"]), ("info", "push.test"))
        self.assertRegex(first["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")

    def test_a_failure_comes_with_its_traceback_in_the_same_object(self) -> None:
        log, stream = self.log_to("json")
        try:
            raise KeyError("x")
        except KeyError:
            log.failure("it broke")
        (line,) = stream.getvalue().splitlines()
        self.assertEqual((json.loads(line)["level"], json.loads(line)["message"]), ("critical", "it broke"))
        self.assertIn("KeyError", json.loads(line)["traceback"])

    def test_an_event_without_a_message_is_no_line(self) -> None:
        for log_format in ("json", "text"):
            log, stream = self.log_to(log_format)
            log.info("")
            self.assertEqual(stream.getvalue(), "")

    def test_an_event_that_cannot_be_formatted_is_still_a_line(self) -> None:
        log, stream = self.log_to("json")
        log.info("{missing}")
        self.assertIn("missing", json.loads(stream.getvalue())["message"])

    def test_text_that_no_file_can_hold_is_escaped(self) -> None:
        log, stream = self.log_to("text")
        log.info("schön {text}", text="lone \udcff")
        self.assertIn("schön lone \\udcff", stream.getvalue())
        stream.getvalue().encode()

    def test_what_is_less_important_than_the_level_is_left_out(self) -> None:
        for level, expected in (("debug", 3), ("info", 2), ("warn", 1), ("error", 0)):
            log, stream = self.log_to("text", level)
            log.debug("debug")
            log.info("info")
            log.warn("warn")
            self.assertEqual(len(stream.getvalue().splitlines()), expected, level)


class StreamTests(SynchronousTestCase):
    """`stream_for`."""

    def stream(self, **twistd: object) -> object:
        """The stream for these options of twistd."""
        return logs.stream_for(twistd, lambda call: call())

    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))

    def test_in_the_foreground_it_is_standard_output(self) -> None:
        self.assertIs(self.stream(nodaemon=True), sys.stdout)
        self.assertIs(self.stream(nodaemon=True, logfile="-"), sys.stdout)

    def test_where_twistd_has_its_own_way_it_is_left_to_twistd(self) -> None:
        self.assertIsNone(self.stream(nodaemon=True, logger="some.observer"))
        self.assertIsNone(self.stream(nodaemon=True, syslog=True))
        self.assertIsNone(self.stream(nodaemon=False, logfile="-"))

    def test_a_file_is_rotated_at_sigusr1(self) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        path = Path(self.mktemp())
        stream = self.stream(nodaemon=False, logfile=str(path))
        self.addCleanup(stream.close)  # type: ignore[attr-defined]
        stream.write("before\n")  # type: ignore[attr-defined]
        signal.raise_signal(signal.SIGUSR1)
        stream.write("after\n")  # type: ignore[attr-defined]
        self.assertEqual(Path(f"{path}.1").read_text(), "before\n")
        self.assertEqual(path.read_text(), "after\n")

    def test_somebody_elses_use_of_sigusr1_is_respected(self) -> None:
        def theirs(number: int, frame: object) -> None:
            """Do nothing."""

        signal.signal(signal.SIGUSR1, theirs)
        stream = self.stream(nodaemon=False, logfile=self.mktemp())
        self.addCleanup(stream.close)  # type: ignore[attr-defined]
        self.assertIs(signal.getsignal(signal.SIGUSR1), theirs)
