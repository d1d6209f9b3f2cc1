"""Peers that break off TLS, stretch it, or never speak it, on a port where it is spoken."""

import contextlib
import json
import os
import random
import ssl
import threading

from support.broker import LIMIT_S
from support.case import HostileTestCase
from support.certificate import Certificate
from support.peer import Closed, Peer

CERTIFICATE = Certificate()
HANDSHAKE, ALERT, APPLICATION_DATA = 22, 21, 23


def record(kind, body, length=None):
    """A record; `length` lies about the body's length."""
    length = len(body) if length is None else length
    return bytes([kind, 3, 3]) + length.to_bytes(2, "big") + body


def client_hello():
    """The first record of a client."""
    outgoing = ssl.MemoryBIO()
    client = CERTIFICATE.context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1"
    )
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class TlsTestCase(HostileTestCase):
    sections = CERTIFICATE.section()
    context = CERTIFICATE.context()

    def bypass(self, peer, data):
        """Bytes on the socket below TLS."""
        self.assertEqual(os.write(peer.socket.fileno(), data), len(data))


class NoTls(TlsTestCase):
    def test_plain_http_is_answered_in_plain_words(self):
        peer = self.tcp()
        peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = peer.rest()
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertIn(b"speaks TLS", answer)

    def test_noise_is_answered_by_an_alert_or_by_nothing(self):
        noise = random.Random(1)
        for length in range(200):
            peer = self.tcp()
            peer.send(record(HANDSHAKE, noise.randbytes(length), length=noise.randrange(256)))
            # Some are the beginning of something, which is not waited for here.
            with contextlib.suppress(OSError):
                peer.socket.shutdown(1)
            answer = peer.rest()
            self.assertTrue(not answer or answer[0] == ALERT, answer)

    def test_a_hello_cut_anywhere_is_no_harm(self):
        hello = client_hello()
        for length in range(0, len(hello), 7):
            peer = self.tcp()
            peer.send(hello[:length])
            if length % 2:
                peer.reset()
            else:
                peer.close()

    def test_a_hello_in_crumbs_is_understood(self):
        body = client_hello()[5:]
        peer = self.tcp()
        peer.send(b"".join(record(HANDSHAKE, body[i : i + 1]) for i in range(len(body))))
        self.assertEqual(peer.exactly(1)[0], HANDSHAKE)

    def test_a_hello_without_end_is_refused(self):
        peer = self.tcp()
        endless = b"\x01\x00\xff\xff" + bytes(60_000)
        with contextlib.suppress(OSError):
            peer.send(b"".join(record(HANDSHAKE, endless[i : i + 9]) for i in range(0, 60_000, 9)))
        answer = peer.rest()
        self.assertTrue(not answer or answer[0] == ALERT, answer)

    def test_partial_records_are_forgotten_with_their_peers(self):
        def act():
            peers = [self.connected() for _ in range(150)]
            for peer in peers:
                self.bypass(peer, record(APPLICATION_DATA, bytes(16_000), length=16_400))
                peer.close()

        self.assert_memory_bounded(act, 4_000_000)


class Stalled(TlsTestCase):
    client = {"connect_timeout": "1s"}

    def test_handshakes_that_stop_are_closed_while_others_go_on(self):
        hello = client_hello()
        peers = [self.tcp() for _ in range(300)]
        for peer in peers:
            peer.send(hello)
        self.assert_alive(self.connected())
        for peer in peers:
            peer.rest()


class InsideTls(TlsTestCase):
    client = {"outbox_bytes_max": "68KiB"}

    def test_a_record_that_was_not_sealed_ends_its_connection(self):
        for garbage in (
            record(APPLICATION_DATA, bytes(64)),
            record(APPLICATION_DATA, b"", length=0xFFFF),
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            peer = self.connected()
            self.bypass(peer, garbage)
            with self.assertRaises(ssl.SSLError) as caught:
                peer.frame()
            self.assertIn("ALERT", str(caught.exception).upper())

    def test_an_orderly_end_is_answered_by_one(self):
        peer = self.connected()
        peer.socket.unwrap()

    def test_who_stops_reading_is_dropped_while_others_receive_everything(self):
        count, data = 3_000, "x" * 16_000
        slow = self.connected(receive_buffer=8_192)
        fast = self.connected()
        for peer in (slow, fast):
            peer.ask({"id": 2, "subscribe": {"channel": "flood"}})
        heard = []

        def listen():
            with contextlib.suppress(Closed, OSError):
                while len(heard) < count:
                    heard.append(fast.message()["push"]["pub"]["data"]["number"])

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        speaker = self.connected()
        for number in range(count):
            answer = speaker.ask(
                {
                    "id": number + 3,
                    "publish": {"channel": "flood", "data": {"number": number, "fill": data}},
                }
            )
            self.assertIn("publish", answer, json.dumps(answer))
        listener.join(LIMIT_S)
        self.assertEqual(heard, list(range(count)))
        with self.assertRaises((Closed, OSError)):
            while True:
                slow.frame()


class Plain(HostileTestCase):
    """A broker without TLS."""

    def test_who_speaks_tls_to_it_is_refused(self):
        peer = self._kept(Peer(self.broker.port))
        peer.send(client_hello())
        self.assertNotEqual(peer.rest()[:1], bytes([HANDSHAKE]))
