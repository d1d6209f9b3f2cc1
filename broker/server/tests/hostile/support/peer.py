"""A WebSocket client that sends exactly the bytes it is told, right or wrong."""

import base64
import json
import os
import socket
import struct

from .broker import LIMIT_S

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode, payload=b"", *, fin=True, reserved=0, masked=True, length=None):
    """The bytes of one frame; `length` lies about the payload's length."""
    length = len(payload) if length is None else length
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask_bit = 0x80 if masked else 0
    if length < 126:
        head = bytes([first, mask_bit | length])
    elif length < 1 << 16:
        head = bytes([first, mask_bit | 126]) + struct.pack(">H", length)
    else:
        head = bytes([first, mask_bit | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + payload
    key = os.urandom(4)
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + key + mixed.to_bytes(len(payload), "big")


def encode(*commands):
    """Commands as the text of one frame."""
    return "\n".join(json.dumps(command) for command in commands).encode()


class Closed(Exception):
    """The broker ended the connection: `code` is None when it sent no close frame."""

    def __init__(self, code, reason):
        super().__init__(f"closed with {code} {reason!r}")
        self.code = code
        self.reason = reason


class Peer:
    """One connection. Reading raises `Closed` at its end."""

    def __init__(self, port, receive_buffer=None, context=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self._received = bytearray()
        self._messages = []

    @classmethod
    def upgraded(cls, port, path="/connection/websocket", headers=(), **options):
        """A WebSocket that has sent no command yet."""
        peer = cls(port, **options)
        peer.send(upgrade_request(path, headers))
        head = peer.head()
        if not head.startswith("HTTP/1.1 101 "):
            raise AssertionError(f"not upgraded: {head}")
        return peer

    @classmethod
    def connected(cls, port, connect=None, **options):
        """A WebSocket whose connect command, with these fields, has been answered."""
        peer = cls.upgraded(port, **options)
        peer.command({"id": 1, "connect": connect or {}})
        reply = peer.message()
        assert reply["id"] == 1, reply
        peer.client = reply["connect"]["client"]
        peer.welcome = reply["connect"]
        return peer

    def send(self, data):
        """Bytes as they are."""
        self.socket.sendall(data)

    def send_slowly(self, data):
        """Every byte in a send of its own."""
        for index in range(len(data)):
            self.socket.sendall(data[index : index + 1])

    def command(self, *commands):
        """Commands in one well-formed frame."""
        self.send(frame(TEXT, encode(*commands)))

    def ask(self, command):
        """A command and its answer; pushes in between are dropped."""
        self.command(command)
        while True:
            message = self.message()
            if message.get("id") == command["id"]:
                return message

    def message(self):
        """The next reply or push. Pings are answered."""
        while not self._messages:
            opcode, payload = self.frame()
            if opcode != TEXT:
                raise AssertionError(f"a frame with opcode {opcode} came: {payload!r}")
            for line in payload.decode().split("\n"):
                if line == "{}":
                    self.command({})
                else:
                    self._messages.append(json.loads(line))
        return self._messages.pop(0)

    def frame(self):
        """The next frame: opcode and payload. Raises `Closed` for a close frame or the end."""
        first, second = self.exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self.exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.exactly(8))
        payload = bytes(self.exactly(length))
        if not first & 0x80 or first & 0x70 or second & 0x80:
            raise AssertionError(f"the broker sent a frame with head {first:#x} {second:#x}")
        opcode = first & 0x0F
        if opcode == CLOSE:
            code = struct.unpack(">H", payload[:2])[0] if payload else 1005
            raise Closed(code, payload[2:].decode())
        return opcode, payload

    def end(self):
        """Code and reason of the close frame, whatever comes before it."""
        try:
            while True:
                self.frame()
        except Closed as closed:
            return closed.code, closed.reason

    def head(self):
        """The head of an HTTP response."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        self._received = bytearray(rest)
        return head.decode()

    def exactly(self, count):
        """So many bytes."""
        while len(self._received) < count:
            self._more()
        taken = self._received[:count]
        del self._received[:count]
        return taken

    def rest(self):
        """All bytes until the broker closes."""
        try:
            while True:
                self._more()
        except Closed:
            return bytes(self._received)

    def close(self):
        """Leaves without a word."""
        self.socket.close()

    def reset(self):
        """Leaves with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _more(self):
        try:
            data = self.socket.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        if not data:
            raise Closed(None, "")
        self._received += data


def upgrade_request(path="/connection/websocket", headers=(), version=13):
    """The head of a WebSocket upgrade."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Version: {version}",
        f"Sec-WebSocket-Key: {key}",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
