"""A WebSocket client that reads strictly and writes what it is told, and the base of the tests.

The broker is `fanwire dev --echo`: what is sent comes back, with the framing and the compression
that every connection has. `support` is that of the hostile tests (see scripts/test.sh).
"""

import contextlib
import os
import socket
import struct
import unittest
import zlib

from support.broker import LIMIT_S, Broker
from support.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, upgrade_request

PATH = "/echo"
# Reserved bits as they stand in a frame's first byte, shifted; the first one says "compressed".
RSV1, RSV2, RSV3 = 4, 2, 1
TAIL = b"\x00\x00\xff\xff"


def frame(opcode, payload=b"", *, fin=True, reserved=0, length=None, key=None):
    """The bytes of one masked frame; `length` announces another length than the payload has."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += struct.pack(">BH", 0x80 | 126, size)
    else:
        head += struct.pack(">BQ", 0x80 | 127, size)
    key = os.urandom(4) if key is None else key
    return head + key + masked(payload, key)


def masked(payload, key):
    """The payload under its mask."""
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return mixed.to_bytes(len(payload), "big")


def fragments(opcode, payload, size, *, reserved=0, between=b""):
    """The frames of a message in pieces of `size` bytes, with something between them."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    last = len(pieces) - 1
    return between.join(
        frame(
            opcode if index == 0 else CONTINUATION,
            piece,
            fin=index == last,
            reserved=reserved if index == 0 else 0,
        )
        for index, piece in enumerate(pieces)
    )


def deflate(message, bits=15, level=6, strategy=zlib.Z_DEFAULT_STRATEGY):
    """The payload of a compressed message."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -bits, 8, strategy)
    payload = stream.compress(message) + stream.flush(zlib.Z_SYNC_FLUSH)
    assert payload.endswith(TAIL)
    return payload[: -len(TAIL)]


def inflate(payload, bits=15):
    """The message of a payload, read with a window of 2^bits bytes that remembers nothing else.

    zlib forgives a reference that reaches too far as long as it stays in the output of one call: so
    calls are small.
    """
    stream, message, rest = zlib.decompressobj(-bits), [], payload + TAIL
    step = 200 if len(payload) < 1 << 16 else 1 << 16
    while rest or not message or message[-1]:
        message.append(stream.decompress(rest, step))
        rest = stream.unconsumed_tail
    assert not stream.eof and not stream.unused_data, "a stream that ends, or something behind it"
    return b"".join(message)


class Ended(Exception):
    """The connection ended without a close frame."""


class Client:
    """One WebSocket."""

    def __init__(self, port, path=PATH, offers=(), receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        lines = [f"Sec-WebSocket-Extensions: {offer}" for offer in offers]
        self.send(upgrade_request(path, lines))
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        self._received = bytearray(rest)
        status, *headers = head.decode().split("\r\n")
        assert status.startswith("HTTP/1.1 101 "), head
        named = [line.partition(":") for line in headers]
        # As it was answered; `None`: no extension.
        agreed = [text for name, _, text in named if name.lower() == "sec-websocket-extensions"]
        assert len(agreed) <= 1, agreed
        self.agreed = agreed[0].strip() if agreed else None
        # What the broker may use.
        self.bits = 15
        for parameter in (self.agreed or "").split(";"):
            name, _, value = parameter.strip().partition("=")
            if name == "server_max_window_bits":
                self.bits = int(value)

    def send(self, data):
        """Bytes as they are."""
        self.socket.sendall(data)

    def send_chopped(self, data, size=1):
        """The same in pieces, each in a send of its own."""
        for at in range(0, len(data), size):
            self.send(data[at : at + size])

    def frame(self):
        """The next frame: opcode, payload, whether it is compressed. Anything odd is an error."""
        first, second = self._exactly(2)
        opcode, length = first & 0x0F, second & 0x7F
        assert first & 0x80, "the broker sends no fragments"
        assert not first & 0x30, "a reserved bit"
        assert not second & 0x80, "a mask"
        if length == 126:
            (length,) = struct.unpack(">H", self._exactly(2))
            assert length > 125, "a length in more bytes than it takes"
        elif length == 127:
            (length,) = struct.unpack(">Q", self._exactly(8))
            assert length > 65535, "a length in more bytes than it takes"
        compressed = bool(first & 0x40)
        assert opcode in (TEXT, BINARY, CLOSE, PING, PONG), opcode
        assert not compressed or (self.agreed and opcode in (TEXT, BINARY)), "a reserved bit"
        assert opcode in (TEXT, BINARY) or length <= 125, "a long control frame"
        return opcode, bytes(self._exactly(length)), compressed

    def message(self):
        """The next frame, inflated: opcode and payload."""
        opcode, payload, compressed = self.frame()
        return opcode, inflate(payload, self.bits) if compressed else payload

    def rest(self):
        """All bytes until the end of the connection."""
        with contextlib.suppress(Ended):
            while True:
                self._more()
        return bytes(self._received)

    def close(self):
        """Leaves without a word."""
        self.socket.close()

    def _exactly(self, count):
        while len(self._received) < count:
            self._more()
        taken = self._received[:count]
        del self._received[:count]
        return taken

    def _more(self):
        try:
            data = self.socket.recv(1 << 20)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        if not data:
            raise Ended
        self._received += data


def each(cases):
    """A test method for each of the cases, a dictionary of names and arguments."""

    def mark(method):
        method.cases = dict(cases)
        return method

    return mark


def one(method, arguments):
    """A test method that is another one with these arguments."""

    def test(self):
        method(self, *arguments)

    return test


class EchoTestCase(unittest.TestCase):
    """One broker with an echo for the class."""

    def __init_subclass__(cls):
        super().__init_subclass__()
        for name, method in list(vars(cls).items()):
            for case, arguments in getattr(method, "cases", {}).items():
                setattr(cls, f"{name}__{case}", one(method, arguments))
            if hasattr(method, "cases"):
                delattr(cls, name)

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker.dev("--echo", PATH)
        cls.addClassCleanup(cls.broker.stop)

    def tearDown(self):
        self.assertIsNone(self.broker.process.poll(), "the broker lives")
        self.assertNotIn("panicked", self.broker.text("stderr"))

    def client(self, *offers, **options):
        """A WebSocket; with offers of extensions, a header line each."""
        client = Client(self.broker.port, offers=offers, **options)
        self.addCleanup(client.close)
        return client

    def assert_echo(self, client, opcode, payload):
        """The next message is this one."""
        got = client.message()
        # Not assertEqual: nobody wants to see megabytes.
        same = got == (opcode, payload)
        self.assertTrue(same, f"opcode {got[0]}, {len(got[1])} bytes: {got[1][:100]!r}")

    def assert_alive(self, client):
        """A ping is answered by its pong, before anything else."""
        client.send(frame(PING, b"alive?"))
        self.assertEqual(client.message(), (PONG, b"alive?"))

    def assert_closed(self, client, code):
        """A close frame with that code comes next (None: with no code), then the end."""
        opcode, payload, _ = client.frame()
        self.assertEqual(opcode, CLOSE, payload[:100])
        got = struct.unpack(">H", payload[:2])[0] if payload else None
        self.assertEqual(got, code, payload)
        with contextlib.suppress(OSError):
            client.send(frame(CLOSE, payload[:2]))
            client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(client.rest(), b"", "nothing comes after the close frame")

    def leave(self, client):
        """The closing handshake, begun here."""
        client.send(frame(CLOSE, struct.pack(">H", 1000)))
        self.assert_closed(client, 1000)

    def memory_peak(self):
        """The most memory that the broker ever had, in bytes."""
        with open(f"/proc/{self.broker.process.pid}/status", encoding="ascii") as status:
            (line,) = (line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
