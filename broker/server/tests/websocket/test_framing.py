"""Lengths, control frames, reserved bits and opcodes, fragments (RFC 6455, section 5)."""

import itertools
import os
import unittest

from echo import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    EchoTestCase,
    each,
    fragments,
    frame,
)

KINDS = {"text": TEXT, "binary": BINARY}
SIZES = (0, 1, 2, 125, 126, 127, 128, 254, 65_535, 65_536, 65_537, 200_000)
# How much goes into one send; 0: all of it.
WRITES = {"whole": 0, "in_997s": 997}
CONTROLS = {"ping": PING, "pong": PONG, "close": CLOSE}


def ascii_of(size):
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def send(client, data, size):
    client.send_chopped(data, size) if size else client.send(data)


class Lengths(EchoTestCase):
    @each(
        {
            f"{kind}_{size}_{write}": (KINDS[kind], size, WRITES[write])
            for kind, size, write in itertools.product(KINDS, SIZES, WRITES)
            if size > 1_000 or write == "whole"
        }
    )
    def test_a_message_comes_back(self, opcode, size, write):
        client = self.client()
        payload = os.urandom(size) if opcode == BINARY else ascii_of(size)
        send(client, frame(opcode, payload), write)
        self.assert_echo(client, opcode, payload)
        self.leave(client)

    @each({str(size): (size,) for size in (0, 1, 125, 126, 127, 128, 1_000)})
    def test_a_message_byte_by_byte_comes_back(self, size):
        client = self.client()
        client.send_chopped(frame(TEXT, ascii_of(size)))
        self.assert_echo(client, TEXT, ascii_of(size))

    @each({str(key[0]): (key,) for key in (bytes(4), b"\xff" * 4, b"\x00\xff\x00\x01")})
    def test_any_mask_is_removed(self, key):
        client = self.client()
        for size in range(20):
            client.send(frame(BINARY, ascii_of(size), key=key))
            self.assert_echo(client, BINARY, ascii_of(size))

    @each({"16": (0x7E,), "64": (0x7F,)})
    def test_a_length_in_more_bytes_than_it_takes_is_understood(self, form):
        client = self.client()
        length = (3).to_bytes(2 if form == 0x7E else 8, "big")
        client.send(bytes([0x81, 0x80 | form]) + length + bytes(4) + b"abc")
        self.assert_echo(client, TEXT, b"abc")

    def test_thousand_messages_in_one_send_come_back_in_order(self):
        client = self.client()
        client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(1_000)))
        for number in range(1_000):
            self.assert_echo(client, TEXT, b"%d" % number)

    def test_an_unmasked_frame_is_refused(self):
        client = self.client()
        client.send(frame(TEXT, b"before") + b"\x81\x02hi")
        self.assert_echo(client, TEXT, b"before")
        self.assert_closed(client, 1002)


class ControlFrames(EchoTestCase):
    @each({str(size): (size,) for size in (0, 1, 2, 124, 125)})
    def test_a_ping_is_answered_by_its_payload(self, size):
        for write in (0, 1):
            client = self.client()
            payload = os.urandom(size)
            send(client, frame(PING, payload), write)
            self.assertEqual(client.message(), (PONG, payload))
            self.leave(client)

    @each(
        {
            f"{name}_{size}": (CONTROLS[name], size)
            for name, size in itertools.product(CONTROLS, (126, 127, 65_535, 65_536))
        }
    )
    def test_a_long_control_frame_is_refused(self, opcode, size):
        client = self.client()
        client.send(frame(TEXT, b"before") + frame(opcode, ascii_of(size)))
        self.assert_echo(client, TEXT, b"before")
        self.assert_closed(client, 1002)

    @each({name: (CONTROLS[name],) for name in CONTROLS})
    def test_a_fragmented_control_frame_is_refused(self, opcode):
        client = self.client()
        client.send(frame(TEXT, b"before") + frame(opcode, b"", fin=False))
        self.assert_echo(client, TEXT, b"before")
        self.assert_closed(client, 1002)

    @each({str(size): (size,) for size in (0, 5, 125)})
    def test_an_unasked_pong_is_ignored(self, size):
        client = self.client()
        client.send(frame(PONG, ascii_of(size)))
        self.assert_alive(client)

    @each({"whole": (0,), "byte_by_byte": (1,)})
    def test_ten_pings_get_ten_pongs_in_order(self, write):
        client = self.client()
        payloads = [b"ping %d" % number for number in range(10)]
        send(client, b"".join(frame(PING, payload) for payload in payloads), write)
        for payload in payloads:
            self.assertEqual(client.message(), (PONG, payload))


class ReservedBits(EchoTestCase):
    OPCODES = {**KINDS, **CONTROLS}

    @each(
        {
            f"{bits}_{name}": (bits, opcode)
            for (name, opcode), bits in itertools.product(OPCODES.items(), range(1, 8))
        }
    )
    def test_a_reserved_bit_is_refused(self, bits, opcode):
        for write in (0, 1):
            client = self.client()
            bad = frame(opcode, b"bad", reserved=bits)
            send(client, frame(TEXT, b"before") + bad + frame(PING), write)
            self.assert_echo(client, TEXT, b"before")
            self.assert_closed(client, 1002)

    @each(
        {
            f"{bits}_{name}": (bits, opcode)
            for (name, opcode), bits in itertools.product(OPCODES.items(), range(1, 8))
            if bits != RSV1 or opcode in CONTROLS.values()
        }
    )
    def test_a_reserved_bit_is_refused_where_compression_was_agreed(self, bits, opcode):
        client = self.client("permessage-deflate")
        client.send(frame(TEXT, b"before") + frame(opcode, b"bad", reserved=bits) + frame(PING))
        self.assert_echo(client, TEXT, b"before")
        self.assert_closed(client, 1002)

    @each({str(bits): (bits,) for bits in range(1, 8)})
    def test_a_reserved_bit_of_a_continuation_is_refused(self, bits):
        for offers in ((), ("permessage-deflate",)):
            client = self.client(*offers)
            client.send(frame(TEXT, b"begun", fin=False))
            client.send(frame(CONTINUATION, b"bad", reserved=bits))
            self.assert_closed(client, 1002)


class Opcodes(EchoTestCase):
    RESERVED = (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)

    @each(
        {
            f"{opcode}_{size}": (opcode, size)
            for opcode, size in itertools.product(RESERVED, (0, 5, 125))
        }
    )
    def test_a_reserved_opcode_is_refused(self, opcode, size):
        for write in (0, 1):
            client = self.client()
            bad = frame(opcode, ascii_of(size)) + frame(PING)
            send(client, frame(TEXT, b"before") + bad, write)
            self.assert_echo(client, TEXT, b"before")
            self.assert_closed(client, 1002)


class Fragments(EchoTestCase):
    @each(
        {
            f"{kind}_{size}_{pings}": (KINDS[kind], size, pings)
            for kind, size, pings in itertools.product(KINDS, (1, 2, 3, 7, 100), (False, True))
        }
    )
    def test_a_message_in_pieces_comes_back_whole(self, opcode, size, pings):
        payload = "Grüße an alle €, auch an 🦀 und 𝄞; ".encode() * 3
        ping = frame(PING, b"between") if pings else b""
        for write in (0, 1):
            client = self.client()
            send(client, fragments(opcode, payload, size, between=ping), write)
            for _ in range((len(payload) - 1) // size if pings else 0):
                self.assertEqual(client.message(), (PONG, b"between"))
            self.assert_echo(client, opcode, payload)
            self.leave(client)

    def test_a_pong_to_a_ping_between_fragments_does_not_wait_for_the_message(self):
        client = self.client()
        client.send(frame(TEXT, b"one ", fin=False))
        self.assert_alive(client)
        client.send(frame(CONTINUATION, b"two ", fin=False) + frame(PONG, b"unasked"))
        self.assert_alive(client)
        client.send(frame(CONTINUATION, b"three"))
        self.assert_echo(client, TEXT, b"one two three")

    @each(
        {
            "all_empty": ((b"", b"", b""),),
            "middle_full": ((b"", b"abc", b""),),
            "ends_full": ((b"abc", b"", b"def"),),
        }
    )
    def test_empty_fragments_are_fragments(self, parts):
        client = self.client()
        first, middle, last = parts
        client.send(frame(TEXT, first, fin=False))
        client.send(frame(CONTINUATION, middle, fin=False))
        client.send(frame(CONTINUATION, last))
        self.assert_echo(client, TEXT, b"".join(parts))

    @each(
        {
            f"{'last' if fin else 'first'}_{'chopped' if write else 'whole'}": (fin, write)
            for fin, write in itertools.product((True, False), (0, 1))
        }
    )
    def test_a_continuation_of_nothing_is_refused(self, fin, write):
        client = self.client()
        send(client, frame(CONTINUATION, b"of what?", fin=fin) + frame(TEXT, b"after"), write)
        self.assert_closed(client, 1002)

    @each({"fin": (True,), "more": (False,)})
    def test_a_continuation_of_a_finished_message_is_refused(self, fin):
        client = self.client()
        client.send(fragments(TEXT, b"abcdef", 2) + frame(CONTINUATION, b"g", fin=fin))
        self.assert_echo(client, TEXT, b"abcdef")
        self.assert_closed(client, 1002)

    @each(
        {
            f"{first}_{second}_{fin}": (KINDS[first], KINDS[second], fin)
            for first, second, fin in itertools.product(KINDS, KINDS, (True, False))
        }
    )
    def test_a_message_within_a_message_is_refused(self, first, second, fin):
        client = self.client()
        client.send(frame(first, b"begun", fin=False) + frame(second, b"another", fin=fin))
        self.assert_closed(client, 1002)


if __name__ == "__main__":
    unittest.main()
