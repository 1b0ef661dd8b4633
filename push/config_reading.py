"""Reads the settings from the command line, PUSH_* in the environment and a TOML file, in that order of precedence.

A wrong setting raises SettingError, which names it, where it came from and what would be right. Knows no setting in
particular. Imports nothing of Twisted.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from typing import Any

from push.config import Config, environment_name, option_name
from push.config_checks import check_together
from push.settings import Parse, SettingError

# What a setting must be, by the type of its default.
_KINDS: Mapping[type, str] = {int: "a whole number", float: "a number", str: "a text", tuple: "a list of texts"}


def from_environment(options: Mapping[str, str | Sequence[str]], file: str | None) -> Config:
    """`load` with the process's environment."""
    return load(options, os.environ, file)


def load(options: Mapping[str, str | Sequence[str]], environment: Mapping[str, str], file: str | None) -> Config:
    """Read all settings.

    Args:
        options: from the command line, by setting name; those not given are missing.
        environment: os.environ or its like; PUSH_CONFIG names the file if `file` is None. What is empty there
            counts as not set.
        file: path of a TOML file, or None.

    Returns:
        The settings, each from the first place that has it.

    Raises:
        SettingError: a setting is wrong, unknown, or does not go with another.
    """
    file = file or environment.get("PUSH_CONFIG") or None
    from_file = _read_file(file) if file else {}
    known = {setting.name for setting in fields(Config)}
    for name in from_file:
        if name not in known:
            raise SettingError(f"{name} in {file}: there is no such setting; docs/configuration.md lists them")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for each in fields(Config):
        name = each.name
        raw: object
        if name in options:
            source, raw = f"--{option_name(each)}", options[name]
        elif environment.get(environment_name(each)):
            source, raw = environment_name(each), environment[environment_name(each)]
        elif name in from_file:
            source, raw = f"{name} in {file}", from_file[name]
        else:
            continue
        try:
            values[name] = _parse(each, _as_text(each, raw))
        except SettingError as error:
            raise SettingError(f"{source}: {error}") from None
        sources[name] = source
    config = Config(**values)
    check_together(config, sources)
    return config


def _read_file(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise SettingError(f"--config: cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingError(f"--config: {path} is not TOML: {error}") from None


def _as_text(setting: "Field[Any]", value: object) -> str | Sequence[str]:
    """TOML's types as the text that the command line would have: one parser for every source."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return value
    if isinstance(value, bool):
        word = "true" if value else "false"
        if not isinstance(setting.default, bool):
            raise SettingError(f"must be {_KINDS[type(setting.default)]}, not {word}")
        return word
    if isinstance(value, str | int | float):
        return str(value)
    raise SettingError("must be a text, a number, true, false or a list of texts")


def _parse(setting: "Field[Any]", raw: str | Sequence[str]) -> Any:
    parse: Parse = setting.metadata["parse"]
    if not setting.metadata["many"]:
        if not isinstance(raw, str):
            raise SettingError("must be one value, not a list")
        return parse(raw)
    items = raw.split() if isinstance(raw, str) else list(raw)
    split = setting.metadata["split"]
    if split:
        items = [part for item in items for part in item.split(split) if part]
    return tuple(parse(item) for item in items)
