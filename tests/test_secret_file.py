"""Secrets out of a file or the environment."""

from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from push.secret_file import load_secrets, read_secrets

SECRETS = (b"s" * 32,)
OLD_SECRET = b"o" * 32
VARIABLE = "PUSH_SOME_SECRET"


class SecretFileTests(SynchronousTestCase):
    """Where a secret comes from."""

    def test_one_a_line_the_present_one_first(self) -> None:
        self.assertEqual(read_secrets("s" * 32 + "\n"), SECRETS)
        self.assertEqual(read_secrets("\n" + "s" * 32 + "  \r\n" + "o" * 32), (*SECRETS, OLD_SECRET))

    def test_what_is_no_secret_is_refused_and_not_repeated(self) -> None:
        for text, why in (("", "no secret"), ("hunter2", "32 bytes"), (f"{'s' * 32}\nhunter2", "32 bytes")):
            self.assertNotIn("hunter2", str(error := self.assertRaises(ValueError, read_secrets, text)))
            self.assertIn(why, str(error))
        self.assertIn("at most 2", str(self.assertRaises(ValueError, read_secrets, f"{'s' * 32}\n" * 3)))

    def load(self, file: str, environment: Mapping[str, str]) -> tuple[bytes, ...]:
        """Read them."""
        return load_secrets(file, VARIABLE, environment, missing="set --secret-file")

    def test_file_then_environment(self) -> None:
        path = self.mktemp()
        Path(path).write_text("s" * 32)
        environment = {VARIABLE: "o" * 32}
        self.assertEqual(self.load(path, environment), SECRETS)
        self.assertEqual(self.load("", environment), (OLD_SECRET,))
        self.assertEqual(str(self.assertRaises(ValueError, self.load, "", {})), "set --secret-file")
        self.assertIn("No such file", str(self.assertRaises(ValueError, self.load, path + "x", environment)))
        Path(path).write_bytes(b"\xff" * 40)
        self.assertIn("not text", str(self.assertRaises(ValueError, self.load, path, {})))
        sentence = str(self.assertRaises(ValueError, self.load, "", {VARIABLE: "hunter2"}))
        self.assertTrue(sentence.startswith(VARIABLE), sentence)
        self.assertNotIn("hunter2", sentence)
