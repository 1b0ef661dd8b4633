"""A push server in a page, that keeps messages until they are acknowledged, and does wrong when it is told to.

It is what `pushctl verify` is tested with: a judge must be seen to find each kind of guilt, and no other.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

from push.protocols.wire.frames import ID, Frame, FrameDecoder, encode
from push.protocols.wire.messages import Disconnect, parse_object, write_disconnect, write_json
from push.protocols.wire.signals import Signal, SubSignal

FAULTS = (
    "forget",
    "forget names",
    "unanswered",
    "swap",
    "double",
    "refuse but keep",
    "another token",
    "shrink ids",
    "repeat",
)


class Device:
    """A token: what is kept for it, and its connection."""

    def __init__(self) -> None:
        self.kept: dict[int, bytes] = {}
        self.tags: list[str] = []
        self.writer: asyncio.StreamWriter | None = None

    def take(self, message_id: int, payload: bytes) -> None:
        """Keep a message, and send it."""
        self.kept[message_id] = payload
        self.send(message_id)

    def send(self, message_id: int) -> None:
        """Send what is kept."""
        if self.writer is not None and not self.writer.is_closing():
            body = ID.pack(message_id) + self.kept[message_id]
            self.writer.write(encode(Signal.PUSH, body, subsignal=SubSignal.MN))


class SmallServer:
    """Runs in a thread of its own, between `with` and its end.

    Args:
        fault: one of FAULTS, done to every seventh message; "" for none.
        refuse: the status with which every SUB is refused, 0 for none.
    """

    def __init__(self, fault: str = "", *, refuse: int = 0) -> None:
        assert fault in ("", *FAULTS)
        self.fault = fault
        self.refuse = refuse
        self.devices: dict[str, Device] = {}
        self.requests = 0
        self.headers: set[str] = set()
        self._answered: dict[str, tuple[int, Any]] = {}
        self._turned_away: set[str] = set()
        self._message_id = 1_000
        self._held: tuple[Device, int] | None = None
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "SmallServer":
        self._thread.start()
        self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(20)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        listeners = [await asyncio.start_server(serve, "127.0.0.1", 0) for serve in (self._framed, self._http)]
        framed, http = (listener.sockets[0].getsockname()[1] for listener in listeners)
        self.url, self.api = f"push://127.0.0.1:{framed}", f"http://127.0.0.1:{http}"
        self._ready.set()
        await self._done.wait()
        for listener in listeners:
            listener.close()

    async def _framed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder(65_536)
        device: Device | None = None
        try:
            while data := await reader.read(65_536):
                for frame in decoder.feed(data):
                    device = self._frame(frame, writer, device)
        except (ConnectionError, asyncio.CancelledError):  # the latter at the end, of which Python 3.11 would complain
            pass
        finally:
            if device is not None and device.writer is writer:
                device.writer = None
            writer.close()

    def _frame(self, frame: Frame, writer: asyncio.StreamWriter, device: Device | None) -> Device | None:
        if frame.signal == Signal.SUB and self.refuse:
            answer = write_json({"status": self.refuse, "reason": "not you"})
            writer.write(encode(Signal.SUB, answer, message_id=frame.message_id))
        elif frame.signal == Signal.SUB:
            request = parse_object(frame.body)
            token = request.get("token") or f"token-{len(self.devices)}"
            device = self.devices.setdefault(token, Device())
            device.tags = request.get("tags", [])
            if device.writer is not None:
                device.writer.write(encode(Signal.DISCONNECT, write_disconnect(Disconnect(3500, "replaced"))))
                device.writer.close()
            device.writer = writer
            answer = write_json({"status": 200, "token": token, "interval": 60_000, "server_time": 0})
            writer.write(encode(Signal.SUB, answer, message_id=frame.message_id))
            for message_id in sorted(device.kept):
                device.send(message_id)
        elif frame.signal == Signal.PING:
            writer.write(encode(Signal.PING, b'{"interval":60000}', message_id=frame.message_id))
        elif frame.signal == Signal.PUB_ACK and device is not None:
            for (message_id,) in ID.iter_unpack(frame.body):
                device.kept.pop(message_id, None)
        return device

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                self.headers.add(fields.get("authorization", ""))
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                if body:
                    status, reply = self._answer(json.loads(body), fields.get("idempotency-key", ""))
                elif "allocate" in head[0]:
                    status, reply = 200, {"nodes": [{"host": "127.0.0.1", "port": int(self.url.rpartition(":")[2])}]}
                else:
                    status, reply = self._receipt(head[0])
                if status == 0:
                    break
                data = json.dumps(reply).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(data), data))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, body: Any, name: str) -> tuple[int, Any]:
        """The answer to a request; 0 for none, and the end of the connection."""
        self.requests += 1
        if name in self._answered and self.fault != "forget names":
            # A server that has just started may not know yet what it has been asked before.
            if name not in self._turned_away:
                self._turned_away.add(name)
                return 503, {"error": {"code": 503, "reason": "UNAVAILABLE", "message": "starting"}}
            return self._answered[name]
        if self.requests % 11 == 0:
            error = {"code": 503, "reason": "UNAVAILABLE", "message": "not now", "retry": "backoff"}
            if self.fault == "refuse but keep":
                self._push_all(body)
            return 503, {"error": error}
        replies = self._push_all(body)
        reply = {"results": replies} if "requests" in body else replies[0]
        if name:
            self._answered[name] = 200, reply
        if self.requests % 13:
            return 200, reply
        if self.fault == "unanswered":
            return 504, {"error": {"code": 504, "reason": "UNANSWERED", "message": "perhaps", "retry": "backoff"}}
        return 0, None

    def _receipt(self, line: str) -> tuple[int, Any]:
        """Of every seventh message another thing is known; the last of these says that it has not expired."""
        message_id = int(line.split()[1].rpartition("/")[2])
        kind = message_id // 7 % 4
        if kind == 0:
            return 404, {"error": {"code": 404, "reason": "NOT_FOUND", "message": "forgotten"}}
        open_states = ("accepted", "cached", "sent")
        state = ("", "expired", open_states[message_id % 3], "delivered")[kind]
        counts = {"expired": int(kind == 1), "cached": 1}
        return 200, {"expires": 1, "counts": counts, "tokens": [{"token": "t", "state": state, "at": 1}]}

    def _push_all(self, body: Any) -> list[Any]:
        return [self._push(entry) for entry in body.get("requests", [body])]

    def _push(self, entry: Any) -> Any:
        payload = entry["message"]["data"].encode()
        self._message_id += 1
        message_id = self._message_id
        if "tags" in entry["target"]:
            return self._push_to_tag(entry["target"]["tags"]["any"][0], message_id, payload)
        token = entry["target"]["token"]
        wrong: Callable[[str, int, bytes], int] | None = None
        if message_id % 7 == 0 and self.fault:
            wrong = getattr(self, "_" + self.fault.replace(" ", "_"), None)
        if wrong is not None:
            message_id = wrong(token, message_id, payload)
        else:
            self.devices[token].take(message_id, payload)
        self._release(message_id)
        return {"id": str(message_id), "targets": 1, "sent": 1, "cached": 0, "unknown": []}

    def _push_to_tag(self, tag: str, message_id: int, payload: bytes) -> Any:
        tagged = [device for device in self.devices.values() if tag in device.tags]
        for device in tagged[1 if self.fault == "forget" else 0 :]:
            device.take(message_id, payload)
        return {"id": str(message_id), "targets": len(tagged), "sent": 0, "cached": 0, "unknown": [], "logged": True}

    def _release(self, message_id: int) -> None:
        """Send what was held back, behind a later one for the same token."""
        if self._held is not None:
            device, held_id = self._held
            if max(device.kept, default=0) > held_id:
                device.send(held_id)
                self._held = None

    def _forget(self, token: str, message_id: int, payload: bytes) -> int:
        return message_id

    def _swap(self, token: str, message_id: int, payload: bytes) -> int:
        if self._held is None:
            device = self.devices[token]
            device.kept[message_id] = payload
            self._held = (device, message_id)
        else:
            self.devices[token].take(message_id, payload)
        return message_id

    def _double(self, token: str, message_id: int, payload: bytes) -> int:
        self.devices[token].take(message_id, payload)
        self._message_id += 1
        self.devices[token].take(self._message_id, payload)
        return message_id

    def _another_token(self, token: str, message_id: int, payload: bytes) -> int:
        other = next(name for name in self.devices if name != token)
        self.devices[other].take(message_id, payload)
        return message_id

    def _shrink_ids(self, token: str, message_id: int, payload: bytes) -> int:
        self.devices[token].take(message_id - 900, payload)
        return message_id - 900

    def _repeat(self, token: str, message_id: int, payload: bytes) -> int:
        self.devices[token].take(message_id, payload)
        self.devices[token].send(message_id)
        return message_id
