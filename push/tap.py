"""`twistd push`: options in, service out. The only reader of options, the only importer of the reactor."""

import atexit
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, ClassVar, NoReturn

from twisted.application.service import IServiceCollection, MultiService
from twisted.logger import ILogObserver, Logger
from twisted.python import usage

from push import __version__, logs
from push.config import Config, default_text, option_name
from push.config_reading import from_environment
from push.errors import StartError
from push.services.ordered import OrderedServices
from push.settings import SettingError
from push.stores.redis.address import parse_address

# Where the limit on open files is infinite; Linux, the usual place to run this, has none that is (fs.nr_open).
_MANY_FILES = 1_048_576

_log = Logger()

# Allocations before a young collection, young ones before a middle one, middle ones before a full one.
_COLLECT_EVERY = (5_000, 20, 20)


class Options(usage.Options):
    """The command line, one option a setting; every one of them is described in docs/configuration.md."""

    synopsis = "[options]"
    longdesc = (
        "Runs a push server: clients connect to --listen, applications push through --api. "
        "Without options it serves this machine only and keeps its state in ./push-data. "
        "Every setting can also be given as PUSH_NAME in the environment or as name = value in the --config file; "
        "the command line comes first, then the environment, then the file."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["config", "c", None, "TOML file with settings. [environment: PUSH_CONFIG]"]
    ]

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, str | list[str]] = {}
        self.config: Config | None = None

    def parseOptions(self, options: Any = None) -> None:
        """Parse; what is wrong ends the program with one sentence instead of pages of help."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"push: {error}; see twistd push --help") from None

    def postOptions(self) -> None:
        """Read the environment and the file, and check all settings together."""
        try:
            self.config = from_environment(self.given, self["config"])
        except SettingError as error:
            raise SystemExit(f"push: {error}") from None

    def parseArgs(self, *arguments: str) -> None:
        """Take nothing but options."""
        if arguments:
            raise usage.UsageError(f"unexpected argument {arguments[0]!r}")

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"push {__version__}")
        raise SystemExit(0)


def _option(name: str, *, many: bool, is_flag: bool, text: str) -> Callable[..., None]:
    """A method of Options for one setting; usage.Options counts its arguments to see whether it is a flag."""

    def take(self: Options, value: str) -> None:
        if many:
            collected = self.given.setdefault(name, [])
            assert isinstance(collected, list)
            collected.append(value)
        else:
            self.given[name] = value

    def flag(self: Options) -> None:
        take(self, "true")

    option: Callable[..., None] = flag if is_flag else take
    option.__doc__ = text
    return option


def _add_settings() -> None:
    """Give Options a method for each setting: usage.Options finds options by the names of methods."""
    for setting in fields(Config):
        is_flag = isinstance(setting.default, bool)
        many = setting.metadata["many"]
        default = default_text(setting)
        text = setting.metadata["help"] + (" May be given several times." if many else "")
        if default and not is_flag:
            text += f" [default: {default}]"
        option = _option(setting.name, many=many, is_flag=is_flag, text=text)
        setattr(Options, "opt_" + option_name(setting).replace("-", "_"), option)


_add_settings()


class PushService(OrderedServices):
    """The root: takes its place in twistd, stops at SIGTERM with exit code 0.

    Args:
        config: for the log.
        twistd: twistd's own options.
        reactor: that runs all this.
    """

    def __init__(self, config: Config, *, twistd: Any, reactor: Any) -> None:
        super().__init__()
        self._config = config
        self._twistd = twistd
        self._reactor = reactor
        self._explainer = Explainer(twistd)
        self._is_asked_to_stop = False

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Join twistd's application, and give it our log observer before it begins to log."""
        super().setServiceParent(parent)
        self._explainer.keep_stderr()
        stream = logs.stream_for(self._twistd, self._reactor.callFromThread)
        if stream is not None and hasattr(parent, "setComponent"):
            self._explainer.logs = stream is not sys.stdout or self._config.log_format != "text"
            parent.setComponent(ILogObserver, logs.observer(stream, self._config.log_format, self._config.log_level))

    def privilegedStartService(self) -> None:
        """Listen; what prevents it is one sentence, not a traceback."""
        self._or_explain(super().privilegedStartService)

    def startService(self) -> None:
        """Start all roles."""
        self._or_explain(super().startService)
        self._explainer.let_go()
        self._reactor.callWhenRunning(self._started)

    def give_up(self, sentence: str) -> None:
        """Stop in order, with this sentence on stderr and exit code 1: what is broken was found after the start."""
        write_to_stderr(2, sentence)
        atexit.register(_fail)
        self._reactor.callWhenRunning(self._stop_once)

    def _or_explain(self, start: Callable[[], None]) -> None:
        try:
            start()
        except StartError as error:
            self._explainer.give_up(str(error))

    def _started(self) -> None:
        # twistd's own handlers would make the process end with the signal, as if it had been killed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_reactor)
        config = self._config
        if config.redis:
            _log.info(
                "push {version}: a node of the cluster at {redis}: {roles}",
                version=__version__,
                redis=parse_address(config.redis),  # shown without its password
                roles=", ".join(config.roles),
            )
        if "connector" in config.roles:
            clients = ", ".join(config.listen)
            _log.info("push {version}: clients connect to {clients}", version=__version__, clients=clients)
        if "api" in config.roles:
            _log.info("the HTTP API listens on {api}", api=config.api)
        tune_collector()

    def _stop_reactor(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._stop_once)

    def _stop_once(self) -> None:
        if not self._is_asked_to_stop and self._reactor.running:
            self._is_asked_to_stop = True
            self._reactor.stop()


class Explainer:
    """Says why the server did not start, where its user looks: one sentence on stderr, and once in a log file.

    Args:
        twistd: twistd's own options.

    Attributes:
        logs: whether the log is another place than the terminal, so that it is to be said there too.
    """

    def __init__(self, twistd: Any) -> None:
        self._twistd = twistd
        self._stderr: int | None = None
        self.logs = True

    def keep_stderr(self) -> None:
        """Keep stderr for later: a daemon closes it before it begins to listen."""
        with suppress(OSError):  # it may be closed already
            self._stderr = os.dup(2)

    def let_go(self) -> None:
        """Close it: who reads from a daemon's stderr must not wait until the daemon ends."""
        if self._stderr is not None:
            os.close(self._stderr)
            self._stderr = None

    def give_up(self, sentence: str) -> NoReturn:
        """Say it, tidy up what twistd has left, and end the process with exit code 1."""
        if self.logs:
            _log.critical("cannot start: {sentence}", sentence=sentence)
        if self._stderr is not None:
            write_to_stderr(self._stderr, sentence)
        # twistd does these two itself for any exception but SystemExit, which alone leaves no traceback in the log.
        status_pipe = self._twistd.get("statusPipe")
        if status_pipe is not None:
            os.write(status_pipe, b"1 the server did not start")  # its parent process shows this
        if self._twistd.get("pidfile"):
            with suppress(OSError):
                os.unlink(self._twistd["pidfile"])
        raise SystemExit(1)


def write_to_stderr(descriptor: int, sentence: str) -> None:
    """Say it where twistd's log does not go by itself."""
    with suppress(OSError):
        os.write(descriptor, f"push: {sentence}\n".encode(errors="backslashreplace"))


def _fail() -> None:
    """End with exit code 1, of which twistd knows nothing once its reactor has run."""
    sys.stdout.flush()
    os._exit(1)


def raise_file_limit() -> int:
    """Let this process open as many files as the system allows it.

    Returns:
        How many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # some systems name a limit that they do not grant
        return soft if soft != resource.RLIM_INFINITY else wanted
    return wanted


def tune_collector() -> None:
    """Let the garbage collector look less often, and never at what was there at the start.

    Sessions live long and are in no cycles once they have ended; with the defaults the collector goes through
    thousands of them again and again while they come.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_EVERY)


def time_by_what_nobody_sets(reactor: Any) -> None:
    """Let the reactor go by the monotonic clock, before anything has looked at its own.

    Twisted goes by the time of day: when that steps back an hour, all that is timed stands still for an hour, and
    when it steps forward, everybody's time limits are over at once.
    """
    reactor.seconds = time.monotonic


def makeService(options: Options) -> MultiService:
    """Build the server that the options describe.

    Args:
        options: parsed.

    Returns:
        One MultiService, whose children are the services of the roles.

    Raises:
        SystemExit: a setting turns out to be unusable; with a sentence that names it.
    """
    from twisted.internet import reactor

    from push import roles

    time_by_what_nobody_sets(reactor)

    config = options.config
    if config is None:
        raise RuntimeError("the options have not been parsed")
    twistd: Any = getattr(options, "parent", None) or {"nodaemon": True}
    try:
        # twistd changes its directory only later, and a daemon to one where paths mean something else.
        config = replace(config, data_dir=os.path.abspath(os.path.join(twistd.get("rundir", "."), config.data_dir)))
        service = PushService(config, twistd=twistd, reactor=reactor)
        children = roles.build(config, reactor=reactor, open_files=raise_file_limit(), give_up=service.give_up)
    except SettingError as error:
        raise SystemExit(f"push: {error}") from None
    for child in children:
        child.setServiceParent(service)
    return service
