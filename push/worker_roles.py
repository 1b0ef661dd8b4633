"""The composition root of workers: what their parent runs for them, and what each of them runs.

Names concrete classes of more than one room, as push.roles does for a server without workers.
"""

import os
import random
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint

import push
from push import endpoint_text
from push.config import Config, environment_name
from push.connecting import Surroundings, advertised, build_connector, server_endpoint
from push.errors import StartError
from push.icache import IPulling
from push.igroup import IChat
from push.isubscribe import ISubscribe
from push.protocols.framed import FramedFactory
from push.protocols.peer.asking import Asking
from push.protocols.peer.avatar import Arrival, NodeAvatar
from push.protocols.peer.connector_door import ConnectorDoor
from push.protocols.peer.joining import join
from push.protocols.peer.link import Link
from push.protocols.peer.login import OneTimeSecrets, PeerServerFactory, Realm
from push.protocols.peer.place import MeetingPlace, ShortPath
from push.protocols.peer.remote_cache import RemoteCache
from push.protocols.peer.remote_chat import RemoteChat
from push.protocols.peer.remote_subscribe import RemoteSubscribe
from push.protocols.peer.sessions import Sessions
from push.services.lag import Lag
from push.services.ordered import OpenClose, OrderedServices
from push.services.probe import Probe
from push.services.worker_nodes import WorkerNodes
from push.services.workers import Workers

# Below the data directory.
RUN_DIRECTORY = "run"
_WORKER = "push.worker"
# A parent that has died shows at once. One that stands still may go on, and nobody could take its place meanwhile.
PARENT_LIMIT_S = 60.0


class Task(msgspec.Struct, frozen=True):
    """What a worker is told by its parent.

    Attributes:
        name: its unique address.
        secret: to log in with, once.
        path: of the socket where its parent listens.
        reactor: module of the reactor to use, that of its parent.
        config: all settings but the secret ones.
    """

    name: str
    secret: str
    path: str
    reactor: str
    config: Config


@dataclass(frozen=True, slots=True)
class Team:
    """The workers of a server, as its other roles see them."""

    service: MultiService
    nodes: WorkerNodes
    workers: Workers


def build_team(config: Config, *, subscribe: ISubscribe, cache: IPulling, chat: IChat, reactor: Any) -> Team:
    """Build what a parent runs for its workers.

    Raises:
        SettingError: a setting turns out to be unusable.
    """
    for listen in config.listen:  # what cannot be is said now, and not by every worker
        server_endpoint(reactor, "--listen", endpoint_text.shared(listen.partition("=")[2]))
    parent = _Parent(config, subscribe, cache, chat, reactor)
    services = _Team(config)
    OpenClose(parent.place.open, parent.place.close).setServiceParent(services)
    parent.nodes.setServiceParent(services)
    parent.workers.setServiceParent(services)
    return Team(services, parent.nodes, parent.workers)


class _Parent:
    """What a parent tells its workers, and who hears of them."""

    def __init__(self, config: Config, subscribe: ISubscribe, cache: IPulling, chat: IChat, reactor: Any) -> None:
        self._config = config
        self._subscribe = subscribe
        self._cache = cache
        self._chat = chat
        self._reactor = reactor
        self._secrets = OneTimeSecrets()
        public = advertised(config)
        self.nodes = WorkerNodes(config.workers, least=config.min_workers or config.workers, clock=reactor)
        factory = PeerServerFactory(Realm(self._avatar), self._secrets, clock=reactor)
        self.place = MeetingPlace(Path(config.data_dir) / RUN_DIRECTORY, factory, reactor=reactor)
        self.workers = Workers(
            [f"{public}#{number}" for number in range(1, config.workers + 1)],
            command=[sys.executable, "-P", "-m", _WORKER],
            environment=_environment(),
            task=self._task,
            void=self._secrets.revoke,
            reactor=reactor,
            stop_timeout_s=config.stop_timeout_s,
            fraction=random.SystemRandom().random,
        )

    def _task(self, name: str) -> bytes:
        config = self._config
        listen = tuple(_shared(each) for each in config.listen)
        # A worker lets nobody in but clients, and asks its parent who they are.
        known = replace(config, listen=listen, workers=0, min_workers=0, api_keys=(), client_jwt_key_file="")
        secret = self._secrets.issue(name)
        return msgspec.json.encode(Task(name, secret, str(self.place.path), type(self._reactor).__module__, known))

    def _avatar(self, name: str, mind: Any) -> NodeAvatar:
        return NodeAvatar(
            name,
            mind,
            answers=Sessions(name, self._subscribe, self._cache, self._chat),
            clock=self._reactor,
            max_waiting_bytes=self._config.max_node_outbox_bytes,
            arrived=self._arrived,
            ready=self._ready,
        )

    def _arrived(self, arrival: Arrival) -> None:
        connector = arrival.connector
        if connector is None:
            arrival.link.lose("a worker is a connector")
            return
        name = connector.address
        self.nodes.arrived(connector)
        arrival.link.when_lost(lambda why: self.nodes.lost(name))
        arrival.link.when_lost(lambda why: self.workers.lost(name))

    def _ready(self, name: str) -> None:
        self.nodes.serves(name)
        self.workers.serves(name)


class _Team(OrderedServices):
    """The services of the parent; finds out at once whether workers will be able to listen."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._listen = config.listen

    def privilegedStartService(self) -> None:
        """Look whether somebody else has a port: sharing one by mistake would lose every other client.

        Raises:
            StartError: somebody has.
        """
        super().privilegedStartService()
        for listen in self._listen:
            description = listen.partition("=")[2]
            host, port = endpoint_text.interface(description) or "", endpoint_text.port(description)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family) as probe:
                # Without SO_REUSEPORT, which is what makes this fail where somebody listens with it.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    raise StartError(
                        f"--listen: cannot listen on {description}: {error.strerror}; choose another port or address"
                    ) from None


def _shared(listen: str) -> str:
    protocol, _, description = listen.partition("=")
    return f"{protocol}={endpoint_text.shared(description)}"


def _environment() -> dict[str, str]:
    """That of this process without settings; the worker is to find the same modules."""
    settings = {environment_name(each) for each in fields(Config)} | {"PUSH_CONFIG"}
    inherited = {name: value for name, value in os.environ.items() if name not in settings}
    here = str(Path(push.__file__).resolve().parents[1])
    path = [here, *filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))]
    return inherited | {"PYTHONPATH": os.pathsep.join(path)}


class WorkerService(Service):
    """What one worker runs: a connector whose tokens are kept by its parent.

    Args:
        task: what it was told.
        surroundings: of its process.
        failed: called with a sentence when it cannot go on.
    """

    def __init__(self, task: Task, surroundings: Surroundings, *, failed: Callable[[str], None]) -> None:
        self._task = task
        self._reactor = surroundings.reactor
        self._failed = failed
        self._asking = Asking()
        cache = RemoteCache(self._asking)
        subscribe = RemoteSubscribe(task.name, self._asking, opened=cache.opened)
        self._connector, self._clients = build_connector(
            task.config,
            surroundings,
            subscribe=subscribe,
            cache=cache,
            chat=RemoteChat(self._asking),
            address=task.name,
        )
        self._probe = Probe(
            connector=self._connector, subscribe=subscribe, protocol=FramedFactory, clock=surroundings.reactor
        )
        self._lag = Lag(surroundings.reactor)
        self._link: Link | None = None
        self._is_leaving = False
        self._stopping: Deferred[None] | None = None

    def startService(self) -> None:
        """Join the parent, then listen."""
        super().startService()
        self._lag.startService()
        Deferred.fromCoroutine(self._start()).addErrback(lambda failure: self._failed(failure.getErrorMessage()))

    def stopService(self) -> "Deferred[None]":
        """Say goodbye to clients, then to the parent."""
        super().stopService()
        self._is_leaving = True
        if self._stopping is None:
            self._lag.stopService()
            self._stopping = Deferred.fromCoroutine(self._stop())
        return self._stopping

    async def _start(self) -> None:
        task = self._task
        door = ConnectorDoor(
            name=task.name,
            connector=self._connector,
            probe=self._probe,
            asking=self._asking,
            measured=[self._connector, self._lag],
            max_payload_bytes=task.config.max_body_bytes,
        )
        path = ShortPath(Path(task.path))
        try:
            endpoint = UNIXClientEndpoint(self._reactor, path.text)
            link = await join(
                endpoint,
                name=task.name,
                secret=task.secret,
                door=door,
                clock=self._reactor,
                pulse_limit_s=PARENT_LIMIT_S,
            )
        finally:
            path.close()
        self._link = link
        self._asking.attach(link)
        link.when_lost(self._lost)
        self._clients.privilegedStartService()
        self._clients.startService()
        await link.call("ready")

    def _lost(self, why: str) -> None:
        if not self._is_leaving:
            self._failed(why)

    async def _stop(self) -> None:
        await self._probe.hang_up()
        if self._clients.running:
            await self._clients.stopService()
        if self._link is not None:
            self._link.close()


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
