"""Tests of push.stores.redis.address."""

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.stores.redis.address import Login, RedisAddress, parse_address

SECRET = "hunter2"


class AddressTests(SynchronousTestCase):
    """What URLs mean."""

    def test_every_form_is_understood(self) -> None:
        for url, expected in {
            "redis://10.0.0.1": RedisAddress((("10.0.0.1", 6379),)),
            "redis://h:7000/3": RedisAddress((("h", 7000),), db=3),
            "redis://h/": RedisAddress((("h", 6379),)),
            "redis://h?replicas=2": RedisAddress((("h", 6379),), replicas=2),
            "redis://h?db=2": RedisAddress((("h", 6379),), db=2),
            "redis://[::1]:7000/3": RedisAddress((("::1", 7000),), db=3),
            "redis://:p%40ss@h": RedisAddress((("h", 6379),), login=Login(None, "p@ss")),
            "redis://al%3Aice:p%2Fw:x@h": RedisAddress((("h", 6379),), login=Login("al:ice", "p/w:x")),
            "redis://u:[x]y@[::1]": RedisAddress((("::1", 6379),), login=Login("u", "[x]y")),
            " redis://h:7000/3\n": RedisAddress((("h", 7000),), db=3),
            "rediss://h/1?ca=/ca.pem&cert=c&key=k": RedisAddress(
                (("h", 6379),), db=1, is_tls=True, ca="/ca.pem", cert="c", key="k"
            ),
            "redis+sentinel://:p@[::1],[::2]:7/main": RedisAddress(
                (("::1", 26379), ("::2", 7)), master="main", login=Login(None, "p")
            ),
            "redis+sentinel://a,b:7,[::1]:8/main/4": RedisAddress(
                (("a", 26379), ("b", 7), ("::1", 8)), master="main", db=4
            ),
            "rediss+sentinel://u:p@a/main?sentinel_user=su&sentinel_password=sp": RedisAddress(
                (("a", 26379),), master="main", is_tls=True, login=Login("u", "p"), sentinel_login=Login("su", "sp")
            ),
            "redis+unix:///run/redis.sock?db=1": RedisAddress((), socket="/run/redis.sock", db=1),
            "redis+unix://:p@/run/redis.sock": RedisAddress((), socket="/run/redis.sock", login=Login(None, "p")),
        }.items():
            self.assertEqual(parse_address(url), expected, url)

    def test_what_is_logged_says_where_but_not_how_to_log_in(self) -> None:
        for url, text in {
            f"redis://u:{SECRET}@h:7/2": "redis://h:7/2",
            f"rediss+sentinel://:{SECRET}@a,[::1]/main?sentinel_password={SECRET}": (
                "rediss+sentinel://a:26379,[::1]:26379/main/0"
            ),
            f"redis+unix://:{SECRET}@/r.sock": "redis+unix:///r.sock?db=0",
        }.items():
            address = parse_address(url)
            self.assertEqual(str(address), text)
            self.assertNotIn(SECRET, repr(address))

    def test_what_is_wrong_is_said_without_a_part_of_it(self) -> None:
        for url in (
            "",
            SECRET,
            f"http://:{SECRET}@h",
            f"redis+://:{SECRET}@h",
            f"redis+cluster://:{SECRET}@h",
            f"redis://{SECRET}@h",
            f"redis://{SECRET}:@h",
            f"redis://u:{SECRET}/x@h",
            f"redis://u:x/{SECRET}@h",
            f"redis://u:{SECRET}#x@h",
            f"redis://u:x#{SECRET}@h",
            f"redis://u:x?{SECRET}@h",
            f"redis://u:{SECRET}@h[::1]",
            f"redis://u:{SECRET}@[::1]h",
            f"redis://u:{SECRET}@[::1",
            f"redis://u:{SECRET}\n@h",
            f"redis://u:{SECRET}@h:{SECRET}",
            f"redis://u:{SECRET}@h:0",
            f"redis://u:{SECRET}@h:65536",
            f"redis://u:{SECRET}@",
            f"redis://u:{SECRET}@h/-1",
            f"redis://u:{SECRET}@h/9999999999",
            f"redis://u:{SECRET}@h/1?db=1",
            f"redis://u:{SECRET}@h?nothing={SECRET}",
            f"redis://u:{SECRET}@h?ca={SECRET}",
            f"rediss://u:{SECRET}@h?key={SECRET}",
            f"redis+sentinel://:{SECRET}@a",
            f"redis+sentinel://:{SECRET}@a,,b/main",
            f"redis+sentinel://:{SECRET}@a/{SECRET} x",
            f"redis+sentinel://:{SECRET}@{','.join('a' * 17)}/main",
            f"redis+unix://:{SECRET}@h/r.sock",
            f"redis+unix://:{SECRET}@",
            f"rediss+unix://:{SECRET}@/r.sock",
        ):
            error = self.assertRaises(ValueError, parse_address, url)
            self.assertNotIn(SECRET, str(error), url)
            self.assertIsNone(error.__cause__)
            self.assertTrue(error.__suppress_context__ or error.__context__ is None)

    def test_any_text_is_an_address_or_an_error(self) -> None:
        @given(st.text(max_size=60))
        @example("//[")
        @example("redis://[::1")
        def check(rest: str) -> None:
            for scheme in ("redis", "rediss", "redis+sentinel", "redis+unix"):
                try:
                    address = parse_address(f"{scheme}://{rest}")
                except ValueError as error:
                    self.assertRegex(str(error), "^(must|is no|has a)")
                else:
                    self.assertIsInstance(str(address), str)

        check()
