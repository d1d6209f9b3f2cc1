"""Large messages, many fragments, lies about lengths, and who does not read."""

import os
import time
import unittest

from echo import BINARY, CONTINUATION, PING, TEXT, Ended, EchoTestCase, each, fragments, frame
from support.broker import LIMIT_S, Broker

KIB, MIB = 1 << 10, 1 << 20
MESSAGE_BYTES_MAX = 64 * MIB
OUTBOX_BYTES_MAX = 160 * MIB
FRAGMENTS_MAX = 1 << 20


def text_of(size):
    """Text of about that size in bytes, not all of it ASCII."""
    return ("0123456789äöüß" * (size // 18)).encode()


class Large(EchoTestCase):
    @each(
        {
            f"{kind}_{size // KIB}K_{write // KIB}K": (kind, size, write)
            for kind in ("text", "binary")
            for size, write in ((256 * KIB, KIB), (4 * MIB, 64 * KIB), (16 * MIB, 0))
        }
    )
    def test_a_message_comes_back(self, kind, size, write):
        client = self.client()
        opcode = TEXT if kind == "text" else BINARY
        payload = text_of(size) if kind == "text" else os.urandom(size)
        data = frame(opcode, payload)
        client.send_chopped(data, write) if write else client.send(data)
        self.assert_echo(client, opcode, payload)
        self.leave(client)

    @each(
        {
            f"{kind}_{size}": (kind, size)
            for kind in ("text", "binary")
            for size in (64, 256, KIB, 64 * KIB, MIB)
        }
    )
    def test_four_mib_in_fragments_come_back(self, kind, size):
        client = self.client()
        opcode = TEXT if kind == "text" else BINARY
        payload = text_of(4 * MIB) if kind == "text" else os.urandom(4 * MIB)
        client.send(fragments(opcode, payload, size))
        self.assert_echo(client, opcode, payload)

    def test_the_largest_message_comes_back_and_a_byte_more_is_refused(self):
        client = self.client()
        payload = os.urandom(MESSAGE_BYTES_MAX)
        client.send(frame(BINARY, payload))
        self.assert_echo(client, BINARY, payload)
        client.send(frame(BINARY, b"", length=MESSAGE_BYTES_MAX + 1))
        self.assert_closed(client, 1009)

    def test_a_byte_too_much_in_fragments_is_refused(self):
        client = self.client()
        client.send(frame(BINARY, bytes(MESSAGE_BYTES_MAX), fin=False))
        self.assert_alive(client)
        client.send(frame(CONTINUATION, b"x"))
        self.assert_closed(client, 1009)

    def test_a_fragment_too_many_is_refused(self):
        client = self.client()
        client.send(frame(BINARY, b"", fin=False))
        client.send(frame(CONTINUATION, b"", fin=False) * (FRAGMENTS_MAX - 1))
        self.assert_alive(client)
        client.send(frame(CONTINUATION, b"", fin=False))
        self.assert_closed(client, 1009)

    @each({str(length.bit_length()): (length,) for length in (1 << 31, 1 << 32, (1 << 63) - 1)})
    def test_a_length_that_nobody_could_hold_is_refused_at_once(self, length):
        client = self.client()
        client.send(frame(BINARY, b"x", length=length))
        self.assert_closed(client, 1009)


class Memory(EchoTestCase):
    def test_an_announced_length_costs_nothing(self):
        before = self.memory_peak()
        clients = [self.client() for _ in range(100)]
        for client in clients:
            client.send(frame(PING) + frame(BINARY, b"x" * 100, length=MESSAGE_BYTES_MAX))
        for client in clients:
            client.message()
        self.assertLess(self.memory_peak() - before, MESSAGE_BYTES_MAX // 2)


class NotRead(EchoTestCase):
    def test_who_sends_and_never_reads_is_closed(self):
        client = self.client(receive_buffer=8 * KIB)
        data = frame(BINARY, bytes(4 * MIB))
        # The broker may discard what comes for a while, but not for as long as it comes.
        deadline = time.monotonic() + LIMIT_S
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < deadline:
                client.send(data)
        self.assertLess(self.memory_peak(), 3 * OUTBOX_BYTES_MAX)
        with self.assertRaises(Ended):
            while True:
                client.frame()


class Defaults(EchoTestCase):
    """What `fanwire serve` bounds unless it is told otherwise."""

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker.serve()
        cls.addClassCleanup(cls.broker.stop)

    def test_a_message_has_64_kib_in_1024_fragments(self):
        path = "/connection/websocket"
        connect = b'{"id":1,"connect":{}}'
        client = self.client(path=path)
        client.send(frame(TEXT, connect.rjust(64 * KIB)))
        self.assertIn(b'"connect"', client.message()[1])
        client.send(frame(TEXT, b"", length=64 * KIB + 1))
        self.assert_closed(client, 1009)
        client = self.client(path=path)
        client.send(fragments(TEXT, connect.rjust(1024), 1))
        self.assertIn(b'"connect"', client.message()[1])
        client.send(fragments(TEXT, connect.rjust(1025), 1))
        self.assert_closed(client, 1009)

    def test_nothing_is_compressed(self):
        client = self.client("permessage-deflate", path="/connection/websocket")
        self.assertIsNone(client.agreed)
        client.send(frame(TEXT, b"{}", reserved=4))
        self.assert_closed(client, 1002)

    def test_there_is_no_echo(self):
        with self.assertRaisesRegex(AssertionError, "404"):
            self.client()


if __name__ == "__main__":
    unittest.main()
