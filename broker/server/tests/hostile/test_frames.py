"""WebSocket frames as they must not be (RFC 6455), and some that are only unusual."""

import contextlib
import struct
import unittest

from support.case import HostileTestCase
from support.peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Closed,
    encode,
    frame,
    upgrade_request,
)

MESSAGE_BYTES_MAX = 65_536


def padded_publish(size):
    """A publish command of exactly that many bytes."""
    command = {"id": 2, "publish": {"channel": "big", "data": ""}}
    command["publish"]["data"] = "x" * (size - len(encode(command)))
    message = encode(command)
    assert len(message) == size
    return message


class Size(HostileTestCase):
    def test_the_largest_message_is_taken(self):
        peer = self.connected()
        peer.send(frame(TEXT, padded_publish(MESSAGE_BYTES_MAX)))
        self.assertEqual(peer.message(), {"id": 2, "publish": {}})

    def test_one_byte_more_closes_with_1009(self):
        peer = self.connected()
        peer.send(frame(TEXT, padded_publish(MESSAGE_BYTES_MAX + 1)))
        self.assert_closed(peer, 1009, "")

    def test_a_giant_message_closes_with_1009_although_the_client_goes_on_sending(self):
        peer = self.connected()
        with contextlib.suppress(OSError):
            peer.send(frame(TEXT, b" " * 4_000_000))
        self.assert_closed(peer, 1009)

    def test_too_much_in_fragments_closes_with_1009(self):
        peer = self.connected()
        half = b" " * (MESSAGE_BYTES_MAX // 2)
        peer.send(frame(TEXT, half, fin=False))
        peer.send(frame(CONTINUATION, half, fin=False))
        self.assert_alive_between_fragments(peer)
        peer.send(frame(CONTINUATION, b" "))
        self.assert_closed(peer, 1009)

    def test_an_announced_giant_closes_before_it_comes(self):
        for length in (1 << 31, 1 << 32, (1 << 63) - 1):
            with self.subTest(length=length):
                peer = self.connected()
                peer.send(frame(TEXT, b"x", length=length))
                self.assert_closed(peer, 1009)

    def test_a_length_beyond_63_bits_is_refused(self):
        peer = self.connected()
        peer.send(frame(TEXT, b"x", length=(1 << 64) - 1))
        self.assertIn(peer.end()[0], (1002, 1009))

    def assert_alive_between_fragments(self, peer):
        peer.send(frame(PING, b"still there?"))
        self.assertEqual(peer.frame(), (PONG, b"still there?"))


class Malformed(HostileTestCase):
    def assert_refused(self, data, code=1002):
        peer = self.connected()
        peer.send(data)
        self.assert_closed(peer, code)

    def test_an_unmasked_frame_closes_with_1002(self):
        self.assert_refused(frame(TEXT, b"{}", masked=False))

    def test_reserved_bits_close_with_1002(self):
        for reserved in range(1, 8):
            with self.subTest(reserved=reserved):
                self.assert_refused(frame(TEXT, b"{}", reserved=reserved))

    def test_reserved_opcodes_close_with_1002(self):
        for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF):
            with self.subTest(opcode=opcode):
                self.assert_refused(frame(opcode))

    def test_a_continuation_of_nothing_closes_with_1002(self):
        self.assert_refused(frame(CONTINUATION, b"x"))

    def test_a_new_message_inside_a_fragmented_one_closes_with_1002(self):
        for opcode in (TEXT, BINARY):
            with self.subTest(opcode=opcode):
                self.assert_refused(frame(TEXT, b"{", fin=False) + frame(opcode, b"{}"))

    def test_a_control_frame_of_more_than_125_bytes_closes_with_1002(self):
        for opcode in (PING, PONG, CLOSE):
            with self.subTest(opcode=opcode):
                self.assert_refused(frame(opcode, b"x" * 126))

    def test_a_fragmented_control_frame_closes_with_1002(self):
        for opcode in (PING, PONG, CLOSE):
            with self.subTest(opcode=opcode):
                self.assert_refused(frame(opcode, b"x", fin=False))

    def test_invalid_utf8_closes_with_1007(self):
        for text in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b'{"a":"\xe2\x82'):
            with self.subTest(text=text):
                self.assert_refused(frame(TEXT, text), 1007)

    def test_invalid_utf8_in_a_later_fragment_closes_with_1007(self):
        data = frame(TEXT, b'{"a":"\xe2\x82', fin=False) + frame(CONTINUATION, b'x"}')
        self.assert_refused(data, 1007)

    def test_garbage_after_the_upgrade_closes_and_never_answers(self):
        peer = self.upgraded()
        peer.send(b"GET /again HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        self.assert_closed(peer, 1002)


class Unusual(HostileTestCase):
    def test_a_message_in_fragments_with_pings_between_is_one_message(self):
        peer = self.connected()
        message = encode({"id": 2, "publish": {"channel": "parts", "data": "tür"}})
        first, *middle, last = (message[index : index + 1] for index in range(len(message)))
        peer.send(frame(TEXT, first, fin=False))
        for count, part in enumerate(middle):
            peer.send(frame(CONTINUATION, part, fin=False))
            if count % 8 == 0:
                peer.send(frame(PING, b"%d" % count))
                self.assertEqual(peer.frame(), (PONG, b"%d" % count))
        peer.send(frame(CONTINUATION, b"", fin=False))
        peer.send(frame(CONTINUATION, last))
        self.assertEqual(peer.message(), {"id": 2, "publish": {}})

    def test_a_character_cut_by_fragments_arrives_whole(self):
        peer = self.connected()
        peer.ask({"id": 2, "subscribe": {"channel": "cut"}})
        message = '{"id":3,"publish":{"channel":"cut","data":"😀"}}'.encode()
        cut = message.index("😀".encode()) + 2
        peer.send(frame(TEXT, message[:cut], fin=False) + frame(CONTINUATION, message[cut:]))
        self.assertEqual(peer.message()["push"]["pub"]["data"], "😀")

    def test_commands_in_a_binary_frame_are_taken(self):
        peer = self.upgraded()
        peer.send(frame(BINARY, encode({"id": 1, "connect": {}})))
        self.assertIn("connect", peer.message())

    def test_every_byte_in_a_send_of_its_own(self):
        peer = self.tcp()
        peer.send_slowly(upgrade_request())
        self.assertTrue(peer.head().startswith("HTTP/1.1 101 "))
        subscribe = {"id": 2, "subscribe": {"channel": "bytes"}}
        peer.send_slowly(frame(TEXT, encode({"id": 1, "connect": {}}, subscribe)))
        self.assertEqual(peer.message()["id"], 1)
        self.assertEqual(peer.message(), {"id": 2, "subscribe": {}})
        peer.send_slowly(frame(PING, b"p"))
        self.assertEqual(peer.frame(), (PONG, b"p"))
        data = "x" * 200
        publish = encode({"id": 3, "publish": {"channel": "bytes", "data": data}})
        peer.send_slowly(frame(TEXT, publish[:70], fin=False) + frame(CONTINUATION, publish[70:]))
        self.assertEqual(peer.message()["push"]["pub"]["data"], data)
        self.assertEqual(peer.message(), {"id": 3, "publish": {}})

    def test_upgrade_and_commands_in_one_send(self):
        peer = self.tcp()
        commands = encode({"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": "rush"}})
        peer.send(upgrade_request() + frame(TEXT, commands))
        self.assertTrue(peer.head().startswith("HTTP/1.1 101 "))
        self.assertEqual(peer.message()["id"], 1)
        self.assertEqual(peer.message(), {"id": 2, "subscribe": {}})

    def test_many_frames_in_one_send_are_answered_in_order(self):
        peer = self.connected()
        ids = range(2, 502)
        commands = ({"id": number, "unsubscribe": {"channel": "x"}} for number in ids)
        peer.send(b"".join(frame(TEXT, encode(command)) for command in commands))
        self.assertEqual([peer.message()["id"] for _ in ids], list(ids))

    def test_many_pings_get_as_many_pongs(self):
        peer = self.connected()
        payloads = [b"%d" % number for number in range(300)]
        peer.send(b"".join(frame(PING, payload) for payload in payloads))
        self.assertEqual([peer.frame() for _ in payloads], [(PONG, each) for each in payloads])

    def test_an_unasked_websocket_pong_is_ignored(self):
        peer = self.connected()
        peer.send(frame(PONG, b"unasked"))
        self.assert_alive(peer)

    def test_a_dropped_connection_in_the_middle_of_a_frame_disturbs_nobody(self):
        for leave in ("close", "reset"):
            with self.subTest(leave=leave):
                peer = self.connected()
                peer.ask({"id": 2, "subscribe": {"channel": "neighbours"}})
                peer.send(frame(TEXT, encode({"id": 3, "rpc": {}}))[:-3])
                getattr(peer, leave)()
                self.neighbours.check()


class Closing(HostileTestCase):
    def test_the_code_of_a_close_frame_is_echoed(self):
        for code in (1000, 1001, 3000, 4999):
            with self.subTest(code=code):
                peer = self.connected()
                peer.send(frame(CLOSE, struct.pack(">H", code) + b"bye"))
                self.assertEqual(peer.end()[0], code)
                self.assertEqual(peer.rest(), b"")

    def test_an_empty_close_frame_is_answered(self):
        peer = self.connected()
        peer.send(frame(CLOSE))
        with self.assertRaises(Closed) as closed:
            peer.frame()
        self.assertIn(closed.exception.code, (1005, 1000))
        self.assertEqual(peer.rest(), b"")

    def test_a_malformed_close_frame_closes_with_1002(self):
        for payload in (b"\x03", *(struct.pack(">H", code) for code in (0, 999, 1005, 1006, 1015))):
            with self.subTest(payload=payload):
                peer = self.connected()
                peer.send(frame(CLOSE, payload))
                self.assert_closed(peer, 1002)

    def test_what_follows_a_close_frame_is_not_read(self):
        peer = self.connected()
        publish = encode({"id": 3, "publish": {"channel": "late", "data": 1}})
        listener = self.connected()
        listener.ask({"id": 2, "subscribe": {"channel": "late"}})
        peer.send(frame(CLOSE, struct.pack(">H", 1000)) + frame(TEXT, publish))
        self.assertEqual(peer.end()[0], 1000)
        listener.command({"id": 3, "publish": {"channel": "late", "data": 2}})
        self.assertEqual(listener.message()["push"]["pub"]["data"], 2)


if __name__ == "__main__":
    unittest.main()
