"""Frames as JSON text, against what the protocol's document says, and both ways for whatever can be said."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.frames import Frame, FrameError, encode
from push.protocols.wire.json_frames import max_text_bytes, read_frame, write_content, write_frame, write_push
from push.protocols.wire.signals import CloseCode, Signal, SubSignal

ONE = bytes(7) + b"\1"
TWO = bytes(7) + b"\2"

# Text as the document has it, and the frame that says the same in binary.
VECTORS = {
    "an empty SUB": (
        '{"signal": "SUB", "subSignal": "NONE", "messageId": 0, "content": ""}',
        Frame(1, 0, 0, b""),
    ),
    "a SUB with a body": (
        '{"signal": "SUB", "subSignal": "NONE", "messageId": 7, "content": {"ack": true, "uid": "é"}}',
        Frame(1, 0, 7, '{"ack":true,"uid":"é"}'.encode()),
    ),
    "a PUSH of text": (
        '{"signal": "PUSH", "subSignal": "NONE", "messageId": 0, "content": "hi"}',
        Frame(4, 0, 0, b"hi"),
    ),
    "a PUSH of an object": (
        '{"signal": "PUSH", "subSignal": "NONE", "messageId": 0, "content": {"a": [1]}}',
        Frame(4, 0, 0, b'{"a":[1]}'),
    ),
    "a PUSH of what is not text": (
        '{"signal": "PUSH", "subSignal": "NONE", "messageId": 0, "content": {"base64": "/wA="}}',
        Frame(4, 0, 0, b"\xff\0"),
    ),
    "a PUSH to who acknowledges": (
        '{"signal": "PUSH", "subSignal": "MN", "messageId": 0, "id": "18446744073709551615", "content": "hi"}',
        Frame(4, 17, 0, bytes([255] * 8) + b"hi"),
    ),
    "a PUB_ACK of two ids": (
        '{"signal": "PUB_ACK", "subSignal": "MN", "messageId": 0, "content": {"ids": ["1", "2"]}}',
        Frame(10, 17, 0, ONE + TWO),
    ),
    "an answer to PUBLISH": (
        '{"signal": "PUB_ACK", "subSignal": "GQ", "messageId": 3, "status": 9, "content": {"status": 501}}',
        Frame(10, 26, 3, b'\x09{"status":501}'),
    ),
}

# Other ways of saying the same, which clients may use.
ALSO = {
    '{"signal": "PING"}': Frame(3, 0, 0, b""),
    ' {"signal":"PING","subSignal":null,"messageId":null,"content":null,"other":1}\n': Frame(3, 0, 0, b""),
    '{"signal":"SUB","content":"{\\"ack\\":true}"}': Frame(1, 0, 0, b'{"ack":true}'),
    '{"signal":"SUB","content":{"base64":"e30="}}': Frame(1, 0, 0, b"{}"),
    '{"signal":"PUB_ACK","subSignal":"MN","id":"1"}': Frame(10, 17, 0, ONE),
    '{"signal":"PUB_ACK","subSignal":"MN","content":{"base64":"AAAAAAAAAAE="}}': Frame(10, 17, 0, ONE),
    '{"signal":"SUB","content":{"uid":"\\ud800"}}': Frame(1, 0, 0, b'{"uid":"\\ud800"}'),
}

SIGNS_OF_LIFE = ("", "ping", "1", '"ping"', "null", "[]", '[{"signal":"SUB"}]', "{", '{"signal":"SUB"', "[" * 100_000)
SIGNS_OF_LIFE += ('{"signal":"PING","content":NaN}', '{"signal":"PING","messageId":' + "9" * 5_000 + "}")

BAD = {
    "{}": "signal must be",
    '{"signal":1}': "signal must be",
    '{"signal":"NONE"}': "signal must be",
    '{"signal":"sub"}': "signal must be",
    '{"signal":["SUB"]}': "signal must be",
    '{"signal":"SUB","subSignal":17}': "subSignal must be",
    '{"signal":"SUB","subSignal":"XX"}': "subSignal must be",
    '{"signal":"SUB","messageId":-1}': "messageId must be",
    '{"signal":"SUB","messageId":65536}': "messageId must be",
    '{"signal":"SUB","messageId":"1"}': "messageId must be",
    '{"signal":"SUB","messageId":true}': "messageId must be",
    '{"signal":"SUB","messageId":1.0}': "messageId must be",
    '{"signal":"SUB","content":1}': "content must be",
    '{"signal":"SUB","content":false}': "content must be",
    '{"signal":"SUB","content":{"base64":1}}': "content cannot be read",
    '{"signal":"SUB","content":{"base64":"a"}}': "content cannot be read",
    '{"signal":"SUB","content":{"base64":"é"}}': "content cannot be read",
    '{"signal":"SUB","content":{"device":1e999}}': "content cannot be read",
    '{"signal":"SUB","content":"\\ud800"}': "content cannot be read",
    '{"signal":"PUB_ACK","subSignal":"MN","id":1}': "an id must be",
    '{"signal":"PUB_ACK","subSignal":"MN","id":"-1"}': "an id must be",
    '{"signal":"PUB_ACK","subSignal":"MN","id":"18446744073709551616"}': "an id must be",
    '{"signal":"PUB_ACK","subSignal":"MN","id":"%s"}' % ("0" * 21): "an id must be",
    '{"signal":"PUB_ACK","subSignal":"MN","id":"\\u0661"}': "an id must be",
    '{"signal":"PUB_ACK","subSignal":"MN","content":{"ids":"1"}}': "ids must be",
    '{"signal":"PUB_ACK","subSignal":"MN","content":{"ids":[1]}}': "an id must be",
    '{"signal":"PUB_ACK","status":256}': "status must be",
}

frames = st.builds(
    Frame,
    st.sampled_from(list(Signal)[1:]),
    st.sampled_from(list(SubSignal)),
    st.integers(0, 65535),
    st.binary(max_size=100)
    | st.text(max_size=100).map(str.encode)
    | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)).map(lambda value: dumps(value)),
)


def dumps(value: Any) -> bytes:
    """Compact JSON, as bodies are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Vectors(SynchronousTestCase):
    """What the document says."""

    def test_writes_as_the_document_says(self) -> None:
        for name, (text, frame) in VECTORS.items():
            self.assertEqual(write_frame(frame), dumps(json.loads(text)), name)

    def test_reads_what_the_document_says(self) -> None:
        for name, (text, frame) in VECTORS.items():
            self.assertEqual(read_frame(text, 1000), frame, name)

    def test_reads_what_leaves_out_or_spells_otherwise(self) -> None:
        for text, frame in ALSO.items():
            self.assertEqual(read_frame(text, 1000), frame, text)

    def test_pushes_are_written_as_frames_are(self) -> None:
        for payload in (b"", b"hi", b"\xff", b'{"a":1}', b'{"base64":"aGk="}'):
            self.assertEqual(write_push(None, payload), write_frame(Frame(Signal.PUSH, 0, 0, payload)))
            self.assertEqual(write_push(1, payload), write_frame(Frame(Signal.PUSH, SubSignal.MN, 0, ONE + payload)))

    def test_a_subsignal_of_a_newer_peer_is_written_as_its_number(self) -> None:
        self.assertEqual(json.loads(write_frame(Frame(Signal.PUB_ACK, 99, 0, b"")))["subSignal"], 99)


class SignsOfLife(SynchronousTestCase):
    """Heartbeats of clients that send any text."""

    def test_text_that_is_no_json_object_is_no_frame_and_no_mistake(self) -> None:
        for text in SIGNS_OF_LIFE:
            self.assertIsNone(read_frame(text, 1000), text[:40])


class BadFrames(SynchronousTestCase):
    """Objects that are no frames."""

    def test_each_is_refused_with_a_reason(self) -> None:
        for text, reason in BAD.items():
            error = read_frame(text, 1000)
            assert isinstance(error, FrameError), text
            self.assertEqual((error.code, error.peer_speaks), (CloseCode.BAD_FRAME, True))
            self.assertTrue(error.reason.startswith(reason), error.reason)

    def test_no_reason_repeats_what_the_peer_sent(self) -> None:
        error = read_frame('{"signal":"my-secret"}', 1000)
        assert isinstance(error, FrameError)
        self.assertNotIn("my-secret", error.reason)

    def test_a_body_over_the_limit_is_too_large(self) -> None:
        text = write_frame(Frame(Signal.SUB, 0, 0, bytes([255] * 11))).decode()
        self.assertIsInstance(read_frame(text, 11), Frame)
        error = read_frame(text, 10)
        assert isinstance(error, FrameError)
        self.assertEqual(error.code, CloseCode.TOO_LARGE)

    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner)))
    def test_no_content_raises(self, content: Any) -> None:
        for name in ("SUB", "PUB_ACK", "PUSH"):
            fields = {"signal": name, "subSignal": "MN", "content": content, "id": content, "status": content}
            for key in ("content", "id", "status"):
                read_frame(json.dumps({**fields, key: None}), 1000)


class BothWays(SynchronousTestCase):
    """Nothing that can be said in binary is lost in text."""

    @given(frames)
    def test_what_is_written_is_read(self, frame: Frame) -> None:
        text = write_frame(frame).decode()
        self.assertIsInstance(json.loads(text), dict)
        read = read_frame(text, 1000)
        assert isinstance(read, Frame), (text, read)
        self.assertEqual(read[:3], frame[:3])
        if read.body != frame.body:  # JSON with white space, or with escapes that need not be
            self.assertEqual(json.loads(read.body), json.loads(frame.body))

    @given(st.binary(max_size=200) | st.text().map(str.encode))
    def test_every_payload_is_json_and_can_be_told_from_others(self, payload: bytes) -> None:
        content = json.loads(write_content(payload))
        if isinstance(content, str):
            self.assertEqual(content.encode(), payload)
        elif isinstance(content, dict) and set(content) == {"base64"}:
            self.assertRaises(UnicodeDecodeError, payload.decode)
        else:
            self.assertEqual(content, json.loads(payload))

    def test_the_longest_body_has_room_in_the_longest_text(self) -> None:
        for body in (bytes([255] * 4096), "é".encode() * 2048):
            escaped = json.dumps(json.loads(write_frame(Frame(Signal.SUB, 0, 1, body))))
            self.assertLessEqual(len(escaped), max_text_bytes(len(body)))

    def test_text_is_not_larger_than_need_be(self) -> None:
        payload = b'{"text":"' + "é".encode() * 1000 + b'"}'
        self.assertLess(len(write_push(1, payload)), len(payload) + 100)
        self.assertEqual(len(encode(Signal.PUSH, payload)), len(payload) + 10)
