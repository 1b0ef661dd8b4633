"""What the documentation says is what the code does: links, commands, generated parts, tables and examples."""

import ast
import json
import re
import runpy
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import msgspec
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from push import cache_roles, config, config_reading, peering, tap
from push.ctl.commands import pushctl
from push.model import Outcome, PushRequest, ToUids
from push.protocols.wire import signals
from push.settings import SettingError
from push.web import message_schemas
from push.web.repeats import Repeats
from push.web.requests import MessageReader
from push.web.settings import ApiSettings

TOP = Path(__file__).resolve().parent.parent
DOCS = TOP / "docs"
PAGES = (*sorted(TOP.glob("*.md")), *sorted(DOCS.glob("*.md")), TOP / "bench" / "README.md")

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# PUSH_SETTINGS is a name in bench/servers.py.
_NO_VARIABLES = {"PUSH_SETTINGS"}
_OTHER_VARIABLES = ("PUSH_CONFIG", cache_roles.SECRET_VARIABLE, peering.SECRET_VARIABLE)
# What the pages say in place of a setting with a hash, so that nobody opens an API to a key that is printed there.
_KEY_PLACEHOLDER = "WHAT-PUSHCTL-KEY-PRINTED"
_KEY_OF_NOBODY = "backend:push+read:" + 64 * "0"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def fenced(page: Path, language: str) -> list[str]:
    """The blocks of code of a page that are in some language."""
    return [block.group(3) for block in _FENCE.finditer(page.read_text()) if block.group(2) == language]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """What a link to a heading of a page may say after the #: as GitHub spells it."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(page: Path, first_header: str) -> list[list[str]]:
    """The cells of the first table of a page whose first column is headed so."""
    rows: list[list[str]] = []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith(f"| {first_header} |"):
            rows = [cells]
        elif rows and line.startswith("|---"):
            continue
        elif rows and line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")])
        elif rows:
            break
    return rows[1:]


def samples_in_the_code() -> Iterator[tuple[str, str]]:
    """Name and kind of every Sample that a module of the server makes."""
    for path in (TOP / "push").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Sample":
                name, kind = (ast.literal_eval(argument) for argument in node.args[:2])
                yield name, kind


class Links(SynchronousTestCase):
    """Pages lead to one another."""

    def test_every_relative_link_leads_to_a_file_and_its_anchor(self) -> None:
        broken = []
        for page in PAGES:
            for target in _LINK.findall(prose(page)):
                if re.match(r"[a-z]+:", target):
                    continue
                name, _, anchor = unquote(target).partition("#")
                leads_to = (page.parent / name).resolve() if name else page
                if not leads_to.exists() or (anchor and anchor not in anchors(leads_to)):
                    broken.append(f"{page.relative_to(TOP)}: {target}")
        self.assertEqual(broken, [])

    def test_the_readme_leads_to_every_page(self) -> None:
        linked = set(_LINK.findall(prose(TOP / "README.md")))
        pages = {str(page.relative_to(TOP)) for page in DOCS.glob("*.md")}
        self.assertEqual(pages - linked, set())

    def test_sections_that_the_code_gives_as_its_source_exist(self) -> None:
        headings = re.findall(r"^#+ (.+)$", (DOCS / "protocol.md").read_text(), re.MULTILINE)
        given = [
            (path, section.rstrip("…, "))
            for path in (TOP / "push").rglob("*.py")
            for source in re.findall(r'docs/protocol\.md,((?:[^."]*"[^"\n]+",?)+)', path.read_text())
            for section in re.findall(r'"([^"]+)"', source)
        ]
        self.assertIn("PING", {section for _, section in given})
        missing = [
            f"{path.relative_to(TOP)}: {section}"
            for path, section in given
            if not any(heading.startswith(section) for heading in headings)
        ]
        self.assertEqual(missing, [])


class Commands(SynchronousTestCase):
    """What is to be typed exists."""

    def test_every_make_target_exists(self) -> None:
        targets = set(re.findall(r"^([a-z]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
        for page in PAGES:
            named = set(re.findall(r"(?:^|[`(])make ([a-z]+)", page.read_text(), re.MULTILINE))
            self.assertEqual(named - targets, set(), page.name)

    def test_every_command_of_pushctl_and_its_options_exist(self) -> None:
        seen = set()
        for page in PAGES:
            for name, options in re.findall(r"pushctl ([a-z]+)([^`\n#]*)", page.read_text()):
                if name not in pushctl.commands and not options.strip().startswith("-"):
                    continue  # a sentence about pushctl
                seen.add(name)
                command = pushctl.commands[name]
                if isinstance(command, click.Group):
                    command = command.commands[options.split()[0]]
                known = {option for each in command.params for option in each.opts}
                self.assertEqual(set(re.findall(r"(?<=\s)--[a-z-]+", options)) - known, set(), f"{page.name}: {name}")
        self.assertLessEqual({"key", "listen", "stats"}, seen)

    def test_every_variable_of_the_environment_exists(self) -> None:
        known = {config.environment_name(setting) for setting in _settings()} | set(_OTHER_VARIABLES)
        known |= {str(each.envvar) for command in pushctl.commands.values() for each in command.params if each.envvar}
        for page in PAGES:
            named = set(re.findall(r"\bPUSH_[A-Z][A-Z_]*[A-Z]\b", page.read_text())) - _NO_VARIABLES
            self.assertEqual(named - known, set(), page.name)

    def test_no_page_has_a_path_of_somebodys_machine(self) -> None:
        for page in PAGES:
            self.assertNotRegex(page.read_text(), r"(?<![\w.])/(?:home|root|work|tmp|Users)/", page.name)


class GeneratedParts(SynchronousTestCase):
    """What can be read off the code is."""

    def test_generated_parts_are_up_to_date(self) -> None:
        generate = runpy.run_path(str(DOCS / "generate.py"))
        for name in sorted({page for page, _ in generate["PARTS"]}):
            text = (DOCS / name).read_text()
            self.assertEqual(text, generate["generated"](name, text), f"{name}: run docs/generate.py")

    def test_a_page_without_its_markers_is_not_taken_for_an_up_to_date_one(self) -> None:
        generate = runpy.run_path(str(DOCS / "generate.py"))
        self.assertRaises(ValueError, generate["generated"], "protocol.md", "# no markers here")

    def test_every_setting_is_in_the_table_under_its_three_names(self) -> None:
        rows = {row[2]: row for row in table(DOCS / "configuration.md", "command line")}
        for setting in _settings():
            row = rows[f"`{setting.name}`"]
            self.assertEqual(row[0], f"`--{config.option_name(setting)}`")
            self.assertEqual(row[1], f"`{config.environment_name(setting)}`")


class Tables(SynchronousTestCase):
    """Tables written by hand have every entry, and no other."""

    def test_every_metric_is_in_the_table(self) -> None:
        rows = table(DOCS / "operations.md", "name")
        self.assertEqual({(row[0].strip("`"), row[1]) for row in rows}, set(samples_in_the_code()))

    def test_every_signal_is_in_the_table(self) -> None:
        rows = table(DOCS / "protocol.md", "number")
        self.assertEqual([(int(row[0]), row[1]) for row in rows], [(each.value, each.name) for each in signals.Signal])

    def test_every_subsignal_is_named_with_its_number(self) -> None:
        text = re.sub(r"\s+", " ", (DOCS / "protocol.md").read_text())
        named = re.search(r"Subsignals: ([^.]*)\.", text)
        assert named is not None
        self.assertEqual(named.group(1).split(", "), [f"{each.name} {each.value}" for each in signals.SubSignal])

    def test_every_close_code_is_in_the_table(self) -> None:
        rows = table(DOCS / "protocol.md", "code")
        self.assertEqual(
            dict.fromkeys((int(row[0]), row[1]) for row in rows),
            dict.fromkeys((each.value, each.name.lower().replace("_", " ")) for each in signals.CloseCode),
        )

    def test_every_outcome_of_a_message_is_in_the_table(self) -> None:
        rows = table(DOCS / "operations.md", "outcome")
        self.assertEqual(
            {row[0].strip("`") for row in rows}, {"cached", *(outcome.name.lower() for outcome in Outcome)}
        )

    def test_every_command_of_pushctl_is_in_the_table(self) -> None:
        rows = table(DOCS / "operations.md", "command")
        self.assertEqual({shlex.split(row[0].strip("`"))[1] for row in rows}, set(pushctl.commands))

    def test_every_target_of_a_message_is_in_the_table(self) -> None:
        rows = table(DOCS / "http-api.md", "field")
        named = set(re.findall(r"`target\.(\w+)`", " ".join(row[0] for row in rows)))
        self.assertEqual(named, set(message_schemas.Target.__struct_fields__))


class Examples(SynchronousTestCase):
    """Examples can be used as they are."""

    def test_the_example_file_is_a_configuration_that_starts(self) -> None:
        (text,) = fenced(DOCS / "configuration.md", "toml")
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            loaded = config_reading.load({}, {}, file.name)
        self.assertEqual(loaded.advertise, "push.example.org:6789")
        self.assertEqual(len(loaded.api_keys), 2)

    def test_the_example_environment_is_a_configuration_that_starts(self) -> None:
        (text,) = (block for block in fenced(DOCS / "configuration.md", "sh") if block.startswith("PUSH_"))
        environment = dict(line.split("=", 1) for line in text.splitlines())
        loaded = config_reading.load({}, {name: value.strip('"') for name, value in environment.items()}, None)
        self.assertEqual(len(loaded.listen), 2)
        self.assertEqual(loaded.log_format, "json")

    def test_commands_that_start_a_server_have_options_that_it_takes(self) -> None:
        started = [
            line.partition("push-server ")[2]
            for page in (TOP / "README.md", DOCS / "operations.md")
            for block in fenced(page, "sh")
            for line in block.splitlines()
            if "push-server --" in line
        ]
        self.assertTrue(started)
        for arguments in started:
            options = tap.Options()
            typed = [_KEY_OF_NOBODY if each == _KEY_PLACEHOLDER else each for each in shlex.split(arguments)]
            usage.Options.parseOptions(options, typed)
            self.assertIsNotNone(options.config, arguments)

    def test_the_placeholder_of_an_api_key_does_not_start_a_server(self) -> None:
        self.assertIn(f"--api-key '{_KEY_PLACEHOLDER}'", (TOP / "README.md").read_text())
        with self.assertRaises(SystemExit):
            usage.Options.parseOptions(tap.Options(), ["--api-key", _KEY_PLACEHOLDER])

    def test_no_page_prints_a_key_or_the_hash_of_one(self) -> None:
        for page in PAGES:
            hashes = set(re.findall(r"\b[0-9a-f]{64}\b", page.read_text()))
            self.assertLessEqual({hashed.strip(hashed[0]) for hashed in hashes}, {""}, page.name)
            self.assertNotRegex(page.read_text(), r"\bpk_[\w-]{20,}", page.name)

    def test_the_pushes_of_the_readme_are_requests_with_the_replies_shown(self) -> None:
        reader = MessageReader(ApiSettings("0", 0.0), now_ms=lambda: 0)
        bodies = [
            body for block in fenced(TOP / "README.md", "sh") for body in re.findall(r"curl .*--json '(.*)'", block)
        ]
        alice = ToUids(("alice",), single=True)
        self.assertEqual(
            [reader.one(body.encode(), Repeats("", None)) for body in bodies],
            [PushRequest(alice, b"hello"), PushRequest(alice, b"welcome back")],
        )
        always = [field.name for field in msgspec.structs.fields(message_schemas.SendReply) if field.required]
        replies = [json.loads(block) for block in fenced(TOP / "README.md", "") if block.startswith("{")]
        self.assertEqual([list(reply) for reply in replies], [always] * 2)

    def test_the_message_of_a_wrong_setting_is_the_one_shown(self) -> None:
        error = self.assertRaises(SettingError, config_reading.load, {"max_subs_per_s": "x"}, {}, None)
        self.assertIn(f"push: {error}\n", (DOCS / "configuration.md").read_text())

    def test_programs_in_python_compile(self) -> None:
        for page in PAGES:
            for text in fenced(page, "python"):
                compile(text, page.name, "exec")


def _settings() -> tuple[Any, ...]:
    return fields(config.Config)


class Translation(SynchronousTestCase):
    """README.zh-CN.md says as much as README.md."""

    def setUp(self) -> None:
        self.english, self.chinese = TOP / "README.md", TOP / "README.zh-CN.md"

    def test_all_that_is_typed_and_shown_is_the_same(self) -> None:
        shown = [
            [block.group(0) for block in _FENCE.finditer(page.read_text())] for page in (self.english, self.chinese)
        ]
        self.assertEqual(*shown)

    def test_it_has_the_same_sections_and_leads_to_the_same_places(self) -> None:
        levels, links = [], []
        for page in (self.english, self.chinese):
            text = prose(page)
            levels.append(re.findall(r"^#+ ", text, re.MULTILINE))
            links.append([link for link in _LINK.findall(text) if not link.startswith("README")])
        self.assertEqual(*levels)
        self.assertEqual(*links)

    def test_each_leads_to_the_other(self) -> None:
        self.assertIn("README.zh-CN.md", _LINK.findall(self.english.read_text()))
        self.assertIn("README.md", _LINK.findall(self.chinese.read_text()))
