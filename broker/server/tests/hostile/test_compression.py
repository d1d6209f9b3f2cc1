"""Compressed connections: bombs, noise, and a crowd of them."""

import os
import struct
import unittest
import zlib

from support.case import HostileTestCase
from support.peer import BINARY, CONTINUATION, PING, TEXT, Closed, Peer, encode, frame

COMPRESSED = 4
OFFER = "Sec-WebSocket-Extensions: permessage-deflate"
MARK = "a-payload-that-is-nobodys-business"


def deflate(message, level=9):
    """The payload of a compressed message."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (stream.compress(message) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Compressing(Peer):
    """A connection that compresses what it sends, and inflates what it gets."""

    def command(self, *commands):
        self.send(frame(TEXT, deflate(encode(*commands)), reserved=COMPRESSED))

    def frame(self):
        first, second = self.exactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self.exactly(2 if length == 126 else 8), "big")
        payload = bytes(self.exactly(length))
        if first & 0x0F == 0x8:
            raise Closed(struct.unpack(">H", payload[:2])[0], payload[2:].decode())
        if first & 0x40:
            payload = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
        return first & 0x0F, payload


class Compressed(HostileTestCase):
    client = {"compression": True}
    secrets = (MARK,)

    def peer(self, **options):
        peer = Compressing.connected(self.broker.port, headers=(OFFER,), **options)
        return self._kept(peer)

    def test_bombs_close_with_1009_and_cost_no_memory(self):
        bomb = deflate(bytes(60 << 20))
        self.assertLess(len(bomb), 64_000)
        whole = frame(TEXT, bomb, reserved=COMPRESSED)
        third = len(bomb) // 3
        pieces = (
            frame(BINARY, bomb[:third], fin=False, reserved=COMPRESSED)
            + frame(CONTINUATION, bomb[third : 2 * third], fin=False)
            + frame(PING)
            + frame(CONTINUATION, bomb[2 * third :])
        )

        def attack():
            for _ in range(100):
                for data in (whole, pieces):
                    peer = Compressing.connected(self.broker.port, headers=(OFFER,))
                    peer.send(data)
                    # None: the rest of the bomb was on its way, so the close frame was lost.
                    self.assertIn(self.end_of(peer), (1009, None))
                    peer.reset()

        self.assert_memory_bounded(attack, 6 << 20)
        peer = self.peer()
        peer.send(whole)
        self.assertEqual(self.end_of(peer), 1009)

    def test_a_message_is_as_large_as_it_is_inflated(self):
        def publish(size):
            empty = encode({"id": 2, "publish": {"channel": "sized", "data": ""}})
            data = "x" * (size - len(empty))
            return encode({"id": 2, "publish": {"channel": "sized", "data": data}})

        peer = self.peer()
        peer.send(frame(TEXT, deflate(publish(64 * 1024)), reserved=COMPRESSED))
        self.assertEqual(peer.message(), {"id": 2, "publish": {}})
        peer.send(frame(TEXT, deflate(publish(64 * 1024 + 1)), reserved=COMPRESSED))
        self.assertEqual(self.end_of(peer), 1009)

    def test_noise_that_says_it_is_compressed_closes(self):
        good = deflate(encode({"id": 2, "unsubscribe": {"channel": MARK}}))
        for payload, codes in (
            (b"\x07", (1002,)),
            (b"\xff" * 100, (1002,)),
            (good[:1] + b"\xff" * 50 + good[1:], (1002, 1007, 3501)),
            (good[:-3], (1002, 1007, 3501)),
            (deflate(b"\xff\xfe"), (1007,)),
            (deflate(b""), (3501,)),
            (b"", (3501, 1002)),
            (b"\x00" * 1_000, (1002,)),
            *((os.urandom(200), (1002, 1007, 1009, 3501)) for _ in range(50)),
        ):
            with self.subTest(payload=payload.hex()):
                peer = self.peer()
                peer.send(frame(TEXT, payload, reserved=COMPRESSED))
                self.assertIn(self.end_of(peer), codes)

    def test_who_did_not_offer_it_may_not_do_it(self):
        peer = self.connected()
        command = deflate(encode({"id": 2, "unsubscribe": {"channel": "x"}}))
        peer.send(frame(TEXT, command, reserved=COMPRESSED))
        self.assert_closed(peer, 1002)

    def test_a_thousand_compressed_connections_hear_everything(self):
        before = self.broker.memory()
        crowd = [self.peer() for _ in range(1_000)]
        for peer in crowd:
            peer.command({"id": 2, "subscribe": {"channel": "crowd"}})
        for peer in crowd:
            self.assertEqual(peer.message(), {"id": 2, "subscribe": {}})
        data = {"text": "something that can be compressed, " * 50}
        for number in range(5):
            body = {"channel": "crowd", "data": {**data, "n": number}}
            self.assertEqual(self.call("publish", body), (200, {"result": {}}))
        for peer in crowd:
            heard = [peer.message()["push"]["pub"]["data"] for _ in range(5)]
            self.assertEqual([one["n"] for one in heard], list(range(5)))
        # A stream of zlib's would be some 300 KiB for each.
        self.assertLess(self.broker.memory() - before, 24 << 20)

    def test_who_never_reads_what_is_compressed_is_dropped(self):
        peer = self.peer(receive_buffer=4_096)
        peer.command({"id": 2, "subscribe": {"channel": "deaf"}})
        peer.message()
        noise = {"channel": "deaf", "data": os.urandom(30_000).hex()}
        for _ in range(150):
            self.call("publish", noise)
        self.assertIn(self.end_of(peer), (3008, None))

    def end_of(self, peer):
        """The close code, or None for an abrupt end."""
        try:
            while True:
                peer.frame()
        except Closed as closed:
            return closed.code


if __name__ == "__main__":
    unittest.main()
