"""permessage-deflate (RFC 7692): what is agreed on, what is sent, what is taken."""

import http.client
import itertools
import json
import os
import unittest
import zlib

from echo import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    TEXT,
    EchoTestCase,
    deflate,
    each,
    fragments,
    frame,
    inflate,
)
from support.broker import API_KEY, LIMIT_S, Broker

KIB, MIB = 1 << 10, 1 << 20
BITS = range(9, 16)
SIZES = (0, 1, 16, 64, 127, 128, 256, *(kib * KIB for kib in (1, 4, 8, 16, 32, 64, 128)))
# Below this nothing is compressed.
COMPRESSION_MIN_BYTES = 128


def text_of(size):
    """JSON whose repetitions lie at all distances."""
    numbers = range(size // 30 + 1)
    entries = (
        {"user": number * 7919 % 1000, "text": "ü", "at": number * 104_729} for number in numbers
    )
    # ASCII, so that it may be cut anywhere.
    return json.dumps(list(entries)).encode()[:size]


def far_of(size, bits):
    """Noise that is repeated at the very end of a window."""
    noise = os.urandom((1 << bits) - 280)
    return (noise * (size // len(noise) + 1))[:size]


DATA = {
    "text": lambda size, bits: text_of(size),
    "noise": lambda size, bits: os.urandom(size),
    "zeros": lambda size, bits: bytes(size),
    "far": far_of,
}


class Negotiation(EchoTestCase):
    ALWAYS = ("server_no_context_takeover", "client_no_context_takeover")
    TAKEN = {
        "plain": (["permessage-deflate"], ()),
        "takeover": (["permessage-deflate; server_no_context_takeover"], ()),
        "both_takeovers": (
            ["permessage-deflate; client_no_context_takeover; server_no_context_takeover"],
            (),
        ),
        "client_bits_10": (
            ["permessage-deflate; client_max_window_bits=10"],
            ("client_max_window_bits=10",),
        ),
        "as_chromium": (["permessage-deflate; client_max_window_bits"], ()),
        "as_websockets": (
            ["permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"],
            ("server_max_window_bits=12", "client_max_window_bits=12"),
        ),
        "quoted": (
            ['permessage-deflate; server_max_window_bits="10"'],
            ("server_max_window_bits=10",),
        ),
        "odd_spaces": (
            ["permessage-deflate ;\tserver_max_window_bits = 11 "],
            ("server_max_window_bits=11",),
        ),
        "second_choice": (["permessage-deflate; server_max_window_bits=8, permessage-deflate"], ()),
        "first_of_two": (
            ["permessage-deflate; server_max_window_bits=9, permessage-deflate"],
            ("server_max_window_bits=9",),
        ),
        "two_lines": (
            ["x-webkit-deflate-frame", "permessage-deflate; server_max_window_bits=9"],
            ("server_max_window_bits=9",),
        ),
        "two_lines_first": (
            ["permessage-deflate; server_max_window_bits=10", "permessage-deflate"],
            ("server_max_window_bits=10",),
        ),
        "among_others": (["a, b; c=d, permessage-deflate, e"], ()),
        "after_quoted_commas": (['a; b="x, permessage-deflate; y", permessage-deflate'], ()),
        "after_broken": (
            ["permessage-deflate; what, permessage-deflate; server_max_window_bits=13"],
            ("server_max_window_bits=13",),
        ),
        **{
            f"bits_{bits}": (
                [f"permessage-deflate; server_max_window_bits={bits}"],
                (f"server_max_window_bits={bits}",),
            )
            for bits in BITS
        },
    }
    DECLINED = {
        "other": "x-webkit-deflate-frame",
        "unknown": "permessage-deflate; unknown",
        "unknown_value": "permessage-deflate; unknown=1",
        "value_of_switch": "permessage-deflate; server_no_context_takeover=true",
        "twice": "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "twice_bits": "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        "no_value": "permessage-deflate; server_max_window_bits",
        "bits_7": "permessage-deflate; server_max_window_bits=7",
        "bits_8": "permessage-deflate; server_max_window_bits=8",
        "bits_16": "permessage-deflate; server_max_window_bits=16",
        "bits_zero": "permessage-deflate; server_max_window_bits=010",
        "bits_text": "permessage-deflate; server_max_window_bits=ten",
        "client_bits_7": "permessage-deflate; client_max_window_bits=7",
        "client_bits_16": "permessage-deflate; client_max_window_bits=16",
        "open_quote": 'permessage-deflate; server_max_window_bits="10',
        "empty_parameter": "permessage-deflate;;",
        "empty": "",
    }

    @each(TAKEN)
    def test_an_offer_is_taken(self, offers, extra):
        client = self.client(*offers)
        name, *parameters = (part.strip() for part in client.agreed.split(";"))
        self.assertEqual(name, "permessage-deflate")
        self.assertEqual(sorted(parameters), sorted([*self.ALWAYS, *extra]))
        client.send(frame(TEXT, deflate(text_of(KIB)), reserved=RSV1))
        self.assert_echo(client, TEXT, text_of(KIB))

    @each({name: (offer,) for name, offer in DECLINED.items()})
    def test_an_offer_is_declined_and_the_connection_is_not_compressed(self, offer):
        client = self.client(offer)
        self.assertIsNone(client.agreed)
        client.send(frame(TEXT, text_of(KIB)))
        self.assertEqual(client.frame(), (TEXT, text_of(KIB), False))
        client.send(frame(TEXT, deflate(b"{}"), reserved=RSV1))
        self.assert_closed(client, 1002)

    def test_what_is_not_offered_is_not_answered(self):
        client = self.client()
        self.assertIsNone(client.agreed)


class Messages(EchoTestCase):
    @each(
        {
            f"{bits}_{size}_{data}": (bits, size, data)
            for bits, size, data in itertools.product(BITS, SIZES, DATA)
            if size > 127 or (bits, data) == (15, "text")
        }
    )
    def test_a_message_comes_back_within_the_window(self, bits, size, data):
        client = self.client(f"permessage-deflate; server_max_window_bits={bits}")
        opcode = TEXT if data in ("text", "zeros") else BINARY
        # Several, so that one that refers to the one before it is noticed.
        for _ in range(3):
            message = DATA[data](size, bits)
            client.send(frame(opcode, deflate(message, bits), reserved=RSV1))
            got, payload, compressed = client.frame()
            plain = inflate(payload, bits) if compressed else payload
            self.assertTrue((got, plain) == (opcode, message))
            self.assertTrue(not compressed or len(payload) < size)
            worth = size >= COMPRESSION_MIN_BYTES and data in ("text", "zeros")
            self.assertEqual(compressed, worth or (compressed and data == "far"))

    @each(
        {
            f"{size}_{pieces}_{pings}": (size, pieces, pings)
            for size, pieces, pings in itertools.product(
                (16, KIB, 64 * KIB), (1, 7, 256, KIB), (False, True)
            )
            if size // pieces < 2_000
        }
    )
    def test_a_compressed_message_in_fragments_comes_back(self, size, pieces, pings):
        client = self.client("permessage-deflate")
        payload = deflate(text_of(size))
        ping = frame(PING, b"between") if pings else b""
        client.send(fragments(TEXT, payload, pieces, reserved=RSV1, between=ping))
        for _ in range((len(payload) - 1) // pieces if pings else 0):
            self.assertEqual(client.message(), (PONG, b"between"))
        self.assert_echo(client, TEXT, text_of(size))

    @each(
        {
            f"{bits}_{level}_{strategy}": (bits, level, strategy)
            for bits, level, strategy in itertools.product(
                BITS, (0, 1, 9), (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY)
            )
        }
    )
    def test_any_form_of_deflate_is_understood(self, bits, level, strategy):
        client = self.client("permessage-deflate")
        for message in (b"", b"x", text_of(40_000), os.urandom(40_000)):
            payload = deflate(message, bits, level, strategy)
            client.send(frame(BINARY, payload, reserved=RSV1))
            self.assert_echo(client, BINARY, message)

    # RFC 7692, section 7.2.3: a fixed block, a stored one, a final one, two, nothing.
    @each(
        {
            "fixed": ("f248cdc9c90700", b"Hello"),
            "stored": ("000500faff48656c6c6f00", b"Hello"),
            "final": ("f348cdc9c9070000", b"Hello"),
            "two": ("f248050000 00ffffcac9c90700", b"Hello"),
            "nothing": ("00", b""),
        }
    )
    def test_the_examples_of_the_rfc_are_understood(self, payload, message):
        client = self.client("permessage-deflate")
        client.send(frame(TEXT, bytes.fromhex(payload), reserved=RSV1))
        self.assert_echo(client, TEXT, message)

    def test_plain_messages_are_taken_too(self):
        client = self.client("permessage-deflate")
        for message in (b"short", text_of(KIB), text_of(100_000)):
            client.send(frame(TEXT, message))
            self.assert_echo(client, TEXT, message)
            client.send(fragments(TEXT, message, 100))
            self.assert_echo(client, TEXT, message)

    @each({"whole": (0,), "chopped": (1,)})
    def test_many_messages_in_one_send_come_back_in_order(self, chopped):
        client = self.client("permessage-deflate")
        messages = [text_of(size) for size in range(0, 2_000, 17)]
        data = b"".join(
            frame(TEXT, deflate(message), reserved=RSV1) if index % 3 else frame(TEXT, message)
            for index, message in enumerate(messages)
        )
        client.send_chopped(data) if chopped else client.send(data)
        for message in messages:
            self.assert_echo(client, TEXT, message)

    def test_sixteen_mib_come_back(self):
        client = self.client("permessage-deflate")
        for message in (text_of(16 * MIB), os.urandom(16 * MIB)):
            client.send(frame(BINARY, deflate(message, level=1), reserved=RSV1))
            self.assert_echo(client, BINARY, message)


class Broken(EchoTestCase):
    BAD = {
        "no_deflate": (b"\xff" * 10, 1002),
        "cut_off": (deflate(text_of(KIB))[:-10], 1002),
        "cut_in_two": (deflate(text_of(KIB))[:100], 1002),
        "before_the_beginning": (b"\x02\x00\x01", 1002),
        "stored_length": (b"\x00\x05\x00\x00\x00hello\x00", 1002),
        "no_text": (deflate(b"\xff\xfe"), 1007),
        "half_a_character": (deflate(b"abc\xe2\x82"), 1007),
        "surrogate": (deflate(b"abc\xed\xa0\x80"), 1007),
    }

    @each(BAD)
    def test_a_broken_message_is_refused(self, payload, code):
        client = self.client("permessage-deflate")
        before = frame(TEXT, deflate(b"before"), reserved=RSV1)
        client.send(before + frame(TEXT, payload, reserved=RSV1) + frame(PING))
        self.assert_echo(client, TEXT, b"before")
        self.assert_closed(client, code)

    @each(BAD)
    def test_a_broken_message_in_fragments_is_refused_at_its_end(self, payload, code):
        client = self.client("permessage-deflate")
        client.send(frame(TEXT, payload[:3], fin=False, reserved=RSV1))
        self.assert_alive(client)
        client.send(frame(CONTINUATION, payload[3:], fin=False))
        self.assert_alive(client)
        client.send(frame(CONTINUATION))
        self.assert_closed(client, code)

    def test_the_bit_of_a_continuation_is_refused(self):
        client = self.client("permessage-deflate")
        payload = deflate(text_of(KIB))
        client.send(frame(TEXT, payload[:50], fin=False, reserved=RSV1))
        client.send(frame(CONTINUATION, payload[50:], reserved=RSV1))
        self.assert_closed(client, 1002)

    def test_the_other_bits_stay_reserved(self):
        client = self.client("permessage-deflate")
        client.send(frame(TEXT, deflate(b"{}"), reserved=RSV1 | RSV2))
        self.assert_closed(client, 1002)


class ServeTestCase(EchoTestCase):
    """Against the settings of `fanwire serve`, with compression."""

    PATH = "/connection/websocket"

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker.serve({"compression": True})
        cls.addClassCleanup(cls.broker.stop)


class Bombs(ServeTestCase):
    @each({"one_mib": (MIB, 9), "sixty_mib": (60 * MIB, 9), "fast": (10 * MIB, 1)})
    def test_a_bomb_is_refused_and_costs_no_memory(self, size, level):
        bomb = deflate(b" " * size, level=level)
        assert len(bomb) < 70_000
        before = self.memory_peak()
        for _ in range(20):
            client = self.client("permessage-deflate", path=self.PATH)
            client.send(frame(TEXT, bomb, reserved=RSV1))
            self.assert_closed(client, 1009)
        self.assertLess(self.memory_peak() - before, 8 * MIB)

    def test_many_blocks_of_nothing_are_refused_or_ignored(self):
        client = self.client("permessage-deflate", path=self.PATH)
        # Empty final blocks: each of them ends a stream and begins another one.
        client.send(frame(BINARY, b"\x03\x00" * 30_000, reserved=RSV1))
        self.assert_closed(client, 3501)

    def test_the_limit_is_that_of_the_message_inflated(self):
        connect = b'{"id":1,"connect":{}}'
        client = self.client("permessage-deflate", path=self.PATH)
        client.send(frame(TEXT, deflate(connect.rjust(64 * KIB)), reserved=RSV1))
        self.assertIn(b'"connect"', client.message()[1])
        client.send(frame(TEXT, deflate(connect.rjust(64 * KIB + 1)), reserved=RSV1))
        self.assert_closed(client, 1009)


class Subscribers(ServeTestCase):
    """One publication, read with every window and with none."""

    def test_all_are_sent_the_same(self):
        offers = [(), *((f"permessage-deflate; server_max_window_bits={bits}",) for bits in BITS)]
        clients = [self.client(*offer, path=self.PATH) for offer in offers for _ in range(3)]
        commands = b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"t"}}'
        for client in clients:
            client.send(frame(TEXT, commands))
            self.assertIn(b'"connect"', client.message()[1])
            self.assertEqual(client.message()[1], b'{"id":2,"subscribe":{}}')
        backend = http.client.HTTPConnection("127.0.0.1", self.broker.port, timeout=LIMIT_S)
        self.addCleanup(backend.close)
        for size in (10, 1_000, 60_000):
            body = json.dumps({"channel": "t", "data": text_of(size).decode()})
            backend.request("POST", "/api/publish", body, {"X-API-Key": API_KEY})
            self.assertEqual(backend.getresponse().read(), b'{"result":{}}')
            for client in clients:
                opcode, payload, compressed = client.frame()
                self.assertEqual(compressed, bool(client.agreed) and size > 128)
                push = json.loads(inflate(payload, client.bits) if compressed else payload)
                data = push["push"]["pub"]["data"]
                self.assertEqual((opcode, data), (TEXT, text_of(size).decode()))


if __name__ == "__main__":
    unittest.main()
