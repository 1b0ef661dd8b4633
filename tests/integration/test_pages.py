"""The console and the demo, clicked through in a real browser; PUSH_SCREENSHOTS=docs/images keeps the pictures."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random

import websockets.sync.server
from twisted.trial.unittest import SynchronousTestCase

import nio_sdk
from push.testing import PushServer
from tests.browser import DESK, PHONE, WHY_NOT, Browser, browsing
from tests.integration.waiting import DEADLINE_S, wait_until

# A picture that is kept is to show some time of a server at work.
KEPT = os.environ.get("PUSH_SCREENSHOTS")
SHOWN_S = 75 if KEPT else 0


class PagesCase(SynchronousTestCase):
    """Needs a browser."""

    if WHY_NOT:
        skip = WHY_NOT

    def picture(self, window: Browser, name: str, *, whole: bool = False) -> None:
        """Take one; it shows something."""
        path = Path(KEPT or ".") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.assertGreater(window.screenshot(path, whole=whole).stat().st_size, 10_000)

    def work(self, server: PushServer, uid: str) -> None:
        """Send, sometimes more and sometimes less, while a picture is to be taken."""
        end_s = time.monotonic() + SHOWN_S
        chance = Random(7)
        while time.monotonic() < end_s:
            for number in range(chance.choice((2, 3, 5, 8, 21))):
                server.send({"uid": uid}, f"m{number}")
            time.sleep(chance.choice((0.2, 0.5, 0.9)))

    def assertFits(self, window: Browser) -> None:
        """Nothing has to be scrolled sideways."""
        wide, shown = window.run("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        self.assertLessEqual(wide, shown)


class ConsoleTests(PagesCase):
    """/console."""

    def test_it_is_live_and_finds_what_is_looked_for(self) -> None:
        with (
            PushServer() as server,
            browsing(DESK) as (window,),
            nio_sdk.PushClient(server.url, uid="alice", tags=["beta"], on_message=lambda message: None) as alice,
            nio_sdk.PushClient(server.url, uid="bob") as bob,
        ):
            token = alice.wait_open(DEADLINE_S)
            bob.wait_open(DEADLINE_S)
            window.open(f"{server.api_url}/console")
            window.wait_text("#state", "live")
            window.wait_text("#tiles", "3\nsessions")
            for number in range(30):
                server.send({"uid": "alice"}, f"m{number}")
            window.wait(
                "return document.querySelector('#rates-chart polyline').getAttribute('points').split(' ').length > 2"
            )
            window.wait_text("#nodes", "takes sessions")

            window.type("#send-to", "alice")
            window.click("#send-form button")
            window.wait_text("#send-result", "1 addressed, sent to 1")
            window.click("#sent-id")
            window.wait_text("#life-result", "what happened")
            again = "document.querySelector('#life-form button').click();"
            window.wait(again + "return document.querySelector('#life-result').innerText.includes('delivered')")
            self.assertIn(token, window.text("#life-result"))
            window.click("#life-result td button")
            window.wait("return document.querySelector('#why').innerText.length > 10")

            window.type("#who", "alice")
            window.click("#who-form button")
            window.wait_text("#who-result", "uid alice has 1 token")
            window.click("#who-result a")
            window.wait_text("#who-result", "beta")
            self.assertIn("online", window.text("#who-result"))

            window.click("#nodes td button")
            window.click("#nodes td button.danger")
            window.wait_text("#nodes-result", "connector")  # there is no other one to go to
            window.run("scrollTo(0, 0)")
            self.work(server, "alice")
            self.picture(window, "console", whole=True)
            self.assertFits(window)

    def test_without_a_key_it_asks_for_one_and_with_it_shows_what_the_key_may(self) -> None:
        key = "backend:push+read:" + sha256(b"pk_secret").hexdigest()
        with PushServer(f"--api-key={key}") as server, browsing(PHONE) as (window,):
            window.open(f"{server.api_url}/console")
            window.wait_text("#state", "an API key is needed")
            window.type("#key", "pk_secret\n")
            window.wait_text("#state", "live")
            window.wait_text("#tiles", "1\nsessions")
            window.type("#who", "nobody")
            window.click("#who-form button")
            window.wait_text("#who-result", "Nobody here")
            window.click("#nodes td button")
            window.click("#nodes td button.danger")
            window.wait_text("#nodes-result", "right to manage")
            self.assertFits(window)
            window.run("scrollTo(0, 0)")
            if KEPT:
                time.sleep(SHOWN_S)
            self.picture(window, "console-phone")

    def test_where_it_cannot_have_a_session_it_asks(self) -> None:
        secret = Path(self.mktemp()).absolute()
        secret.write_bytes(b"x" * 32)
        with PushServer(f"--client-jwt-key-file={secret}") as server, browsing(DESK) as (window,):
            window.open(f"{server.api_url}/console")
            window.wait_text("#state", "asking every 2 s")
            window.wait_text("#nodes", "takes sessions")


class DemoTests(PagesCase):
    """/demo."""

    def connect(self, window: Browser, server: PushServer, uid: str) -> None:
        """Open the page, and connect."""
        window.open(f"{server.api_url}/demo")
        window.run("document.querySelector('#uid').value = arguments[0]", uid)
        window.click("#connect")
        window.wait_text("#state", "connected")

    def test_two_talk_in_a_group_and_get_pushes(self) -> None:
        with PushServer() as server, browsing(PHONE, 2) as (ann, ben):
            self.connect(ann, server, "ann")
            self.connect(ben, server, "ben")
            ann.wait_text("#heartbeat", "every 30 s, answered in")
            for window in (ann, ben):
                window.click("#join")
                window.wait_text("#talk", "you are in friends")
            ann.type("#text", "hi ben\n")
            ben.wait_text("#talk", "hi ben")
            ben.type("#text", "hello ann, nice to see you")
            ben.click("#say")
            ann.wait_text("#talk", "hello ann, nice to see you")
            ann.wait_text("#members", "2 members")
            ann.click("#push")
            ann.wait_text("#pushes", "hello")
            server.send({"uid": "ben"}, {"n": 1})
            ben.wait_text("#pushes", '{"n":1}')
            self.assertEqual(ben.text("#count"), "1")
            for window in (ann, ben):
                self.assertFits(window)
                self.assertEqual(window.complaints(), [])
            ann.run("scrollTo(0, 0)")
            self.picture(ann, "demo-phone")
            ann.run("document.querySelector('#talk').scrollIntoView({block: 'center'})")
            self.picture(ann, "demo-phone-group")

    def test_it_comes_back_with_its_token_and_what_was_said_meanwhile(self) -> None:
        with PushServer() as server, browsing(PHONE, 2) as (ann, ben):
            for window, uid in ((ann, "ann"), (ben, "ben")):
                self.connect(window, server, uid)
                window.click("#join")
                window.wait_text("#talk", "you are in friends")
            token = ann.text("#token")
            ann.click("#disconnect")
            ann.wait_text("#state", "not connected")
            ben.type("#text", "while you were away\n")
            ben.wait_text("#talk", "while you were away")
            server.send({"uid": "ann"}, "kept for you")
            ann.click("#connect")
            ann.wait_text("#talk", "while you were away")
            ann.wait_text("#pushes", "kept for you")
            self.assertEqual(ann.text("#token"), token)
            server.restart()
            wait_until("the page is back", lambda: ann.text("#log").count("open at") == 3)
            server.send({"token": token}, "after the restart")
            ann.wait_text("#pushes", "after the restart")

    def test_it_goes_where_it_is_sent(self) -> None:
        with PushServer() as server, redirecting(server.ports["api"]) as port, browsing(DESK) as (window,):
            window.open(f"{server.api_url}/demo")
            window.run("document.querySelector('#url').value = arguments[0]", f"ws://127.0.0.1:{port}/ws")
            window.click("#connect")
            window.wait_text("#state", "connected")
            self.assertIn(f"redirected to 127.0.0.1:{server.ports['api']}", window.text("#log"))
            self.assertIn(str(server.ports["api"]), window.text("#place"))
            self.picture(window, "demo")

    def test_who_is_replaced_stays_away(self) -> None:
        with PushServer() as server, browsing(DESK) as (window,):
            self.connect(window, server, "ann")
            with nio_sdk.PushClient(server.url, token=window.text("#token"), uid="ann") as other:
                other.wait_open(DEADLINE_S)
                window.wait_text("#state", "ended")


@contextmanager
def redirecting(port: int) -> Iterator[int]:
    """A server that answers each SUB with 302, to that port of this machine; where it listens."""

    def serve(socket: websockets.sync.server.ServerConnection) -> None:
        asked = json.loads(socket.recv())
        content = {"status": 302, "host": "127.0.0.1", "port": port, "nodes": [], "retry_after": 0}
        socket.send(json.dumps({"signal": "SUB", "messageId": asked["messageId"], "content": content}))
        socket.recv()

    with websockets.sync.server.serve(
        serve, "127.0.0.1", 0, subprotocols=[websockets.typing.Subprotocol("push.json")]
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()
