"""Protobuf whose lengths lie, whose fields are of another kind, and that is none."""

import itertools
import random
import unittest

from support.case import HostileTestCase
from support.peer import BINARY, TEXT, Peer, frame
from support.protobuf import (
    CONNECT,
    HISTORY,
    PRESENCE,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    command,
    data_of,
    error_code,
    field,
    replies,
    varint,
)

MARK = "a-payload-that-is-nobodys-business"


class ProtobufTestCase(HostileTestCase):
    secrets = (MARK,)

    def speaker(self):
        """A connected client."""
        peer = self._kept(Peer.upgraded(self.broker.port, "/connection/websocket?format=protobuf"))
        (reply,) = self.ask(peer, command(1, CONNECT))
        self.assertIn(CONNECT[1], reply)
        return peer

    def ask(self, peer, data):
        """What comes after this message."""
        peer.send(frame(BINARY, data))
        return self.hear(peer)

    def hear(self, peer):
        opcode, payload = peer.frame()
        self.assertEqual(opcode, BINARY)
        return replies(payload)

    def listener(self, topic):
        peer = self.speaker()
        (reply,) = self.ask(peer, command(2, SUBSCRIBE, field(1, topic)))
        self.assertIn(SUBSCRIBE[1], reply)
        return peer


class Lies(ProtobufTestCase):
    GOOD = command(2, UNSUBSCRIBE, field(1, "x"))

    def assert_refused(self, data, code=3501):
        peer = self.speaker()
        peer.send(frame(BINARY, data))
        self.assert_closed(peer, code)

    def test_lengths_that_lie_close_with_3501(self):
        message = self.GOOD[1:]
        for data in (
            b"",
            b"\x00",
            b"\x80",
            b"\xff" * 11,
            varint(2**64 - 1) + message,
            varint(2**63) + message,
            varint(2**32) + message,
            varint(2**31 - 1) + message,
            varint(len(message) + 1) + message,
            varint(len(message) - 1) + message,
            self.GOOD[:-1],
            self.GOOD + b"\x80",
            self.GOOD + varint(1 << 40),
            # Of fields inside.
            command(2, UNSUBSCRIBE, b"\x0a\x7fx"),
            command(2, UNSUBSCRIBE, b"\x0a" + varint(2**63) + b"x"),
            command(2, PUBLISH, field(1, "x") + b"\x12" + varint(2**32 - 1) + b"1"),
            varint(4) + field(1, 2) + b"\x32\x7f",
        ):
            with self.subTest(data=data[:40]):
                self.assert_refused(data)

    def test_fields_of_another_kind_close_with_3501(self):
        for data in (
            command(2, UNSUBSCRIBE, field(1, 7)),
            command(2, UNSUBSCRIBE, field(1, b"\xff\xfe")),
            command(2, UNSUBSCRIBE, b"\x0b"),
            command(2, UNSUBSCRIBE, b"\x0c"),
            command(2, UNSUBSCRIBE, b"\x07"),
            command(2, UNSUBSCRIBE, b"\x00\x00"),
            varint(8) + field(1, 2) + field(6, 1) + b"\x0f\x0f\x0f\x0f",
        ):
            with self.subTest(data=data):
                self.assert_refused(data)

    def test_json_and_noise_close_with_3501(self):
        dice = random.Random(7)
        noise = (dice.randbytes(60) for _ in range(5))
        for data in (b'{"id":1,"connect":{}}', b"{}", b"\n", *noise):
            with self.subTest(data=data):
                peer = self._kept(
                    Peer.upgraded(self.broker.port, "/connection/websocket?format=protobuf")
                )
                peer.send(frame(BINARY, data))
                self.assert_closed(peer, 3501)

    def test_what_came_before_the_lie_is_done_and_what_comes_after_is_not(self):
        heard = self.listener("lies")

        def publish(number):
            return command(3, PUBLISH, field(1, "lies") + field(2, str(number)))

        peer = self.speaker()
        peer.send(frame(BINARY, publish(1) + varint(2**40) + publish(2)))
        self.assert_closed(peer, 3501)
        self.speaker().send(frame(BINARY, publish(3)))
        pushes = itertools.chain.from_iterable(self.hear(heard) for _ in range(2))
        self.assertEqual([data_of(push) for push in itertools.islice(pushes, 2)], [1, 3])

    def test_nesting_without_end_closes_with_3501(self):
        node = b""
        while len(node) < 40_000:
            node = field(6, node)
        self.assert_refused(command(2, SUBSCRIBE, field(1, "x") + field(13, node)))
        # Groups are what Protobuf had before; a chain of them must not be climbed either.
        self.assert_refused(command(2, SUBSCRIBE, field(1, "x") + b"\xab\x06" * 15_000))

    def test_the_same_in_a_text_frame_is_no_utf8(self):
        peer = self.speaker()
        peer.send(frame(TEXT, b"\xff" + self.GOOD))
        self.assert_closed(peer, 1007)

    def test_maps_without_end_are_read_once_and_dropped(self):
        entry = field(3, field(1, "neighbours") + field(2, b""))
        body = entry * (60_000 // len(entry))
        for _ in range(50):
            peer = self._kept(
                Peer.upgraded(self.broker.port, "/connection/websocket?cf_protocol=protobuf")
            )
            (reply,) = self.ask(peer, command(1, CONNECT, body))
            self.assertIn(CONNECT[1], reply)
            peer.reset()

    def test_thousands_of_lies_take_no_memory(self):
        lie = varint(2**31) + field(1, 2) + field(7, field(2, MARK * 1_000))

        def attack():
            for _ in range(400):
                peer = Peer.upgraded(self.broker.port, "/connection/websocket?format=protobuf")
                peer.send(frame(BINARY, lie))
                self.assertEqual(peer.end()[0], 3501)
                peer.reset()

        self.assert_memory_bounded(attack, 6 << 20)


class Unusual(ProtobufTestCase):
    def test_unknown_fields_are_skipped(self):
        body = field(1, "x") + field(99, MARK) + varint(98 << 3 | 5) + b"1234"
        (reply,) = self.ask(self.speaker(), command(2, UNSUBSCRIBE, body))
        self.assertEqual(reply[1], [2])
        self.assertIn(UNSUBSCRIBE[1], reply)

    def test_refusals_are_those_of_json(self):
        peer = self.speaker()
        for method, body, code in (
            (PUBLISH, field(1, "nosuch:x") + field(2, "1"), 102),
            (PUBLISH, field(1, "x"), 107),
            (PUBLISH, field(1, "x" * 256) + field(2, "1"), 107),
            (SUBSCRIBE, field(1, "$x"), 103),
            (SUBSCRIBE, field(1, "x") + field(13, field(1, "nosuch")), 107),
            (PRESENCE, field(1, "x"), 108),
            (HISTORY, field(1, "x") + field(7, 2**64 - 1), 108),
        ):
            with self.subTest(body=body):
                (reply,) = self.ask(peer, command(2, method, body))
                self.assertEqual(error_code(reply), code)

    def test_bytes_that_are_no_json_reach_json_as_base64(self):
        told, heard = self.connected(), self.listener("both")
        told.ask({"id": 2, "subscribe": {"channel": "both"}})
        body = field(1, "both") + field(2, b"\xff\x00\n{")
        self.assertEqual(len(self.ask(self.speaker(), command(2, PUBLISH, body))), 1)
        self.assertEqual(told.message()["push"]["pub"]["data"], {"b64data": "/wAKew=="})
        self.assertEqual(len(self.hear(heard)), 1)
        self.assert_alive(told)

    def test_a_thousand_commands_in_one_message_are_answered_in_order(self):
        peer = self.speaker()
        numbers = range(2, 1_002)
        commands = (command(number, UNSUBSCRIBE, field(1, "x")) for number in numbers)
        peer.send(frame(BINARY, b"".join(commands)))
        answered = []
        while len(answered) < len(numbers):
            answered += [reply[1][0] for reply in self.hear(peer)]
        self.assertEqual(answered, list(numbers))


if __name__ == "__main__":
    unittest.main()
