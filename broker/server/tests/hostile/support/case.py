"""The base of the tests that misbehave towards a broker."""

import contextlib
import http.client
import json
import unittest

from .broker import API_KEY, LIMIT_S, Broker
from .neighbours import Neighbours
from .peer import CLOSE, Peer, frame


class HostileTestCase(unittest.TestCase):
    """One broker for the class; after each test its neighbours are checked."""

    # Settings of `[client]`, and further sections; without any the broker is `fanwire dev`.
    client = {}
    sections = {}
    # What clients trust, where the broker speaks TLS.
    context = None
    # What the log must never show, beside the API key. It shows all else: its level is "trace".
    secrets = ()

    @classmethod
    def setUpClass(cls):
        log = {"log": {"level": "trace"}}
        if cls.client or cls.sections:
            cls.broker = Broker.serve(cls.client, sections={**log, **cls.sections})
        else:
            cls.broker = Broker.dev("--log-level", "trace")
        cls.addClassCleanup(cls.broker.stop)
        cls.neighbours = Neighbours(cls.broker, cls.context)
        cls.addClassCleanup(cls.neighbours.leave)

    def tearDown(self):
        self.neighbours.check()
        self.assertIsNone(self.broker.process.poll(), "the broker lives")
        log = self.broker.text("stderr")
        self.assertNotIn("panicked", log)
        for secret in (API_KEY, *self.secrets):
            shown = log.find(secret)
            self.assertEqual(shown, -1, log[max(0, shown - 200) : shown + 200])

    def upgraded(self, **options):
        """A WebSocket that has sent no command yet."""
        return self._kept(Peer.upgraded(self.broker.port, context=self.context, **options))

    def connected(self, **options):
        """A WebSocket whose connect command has been answered."""
        return self._kept(Peer.connected(self.broker.port, context=self.context, **options))

    def tcp(self):
        """A connection without a byte sent."""
        return self._kept(Peer(self.broker.port))

    def assert_closed(self, peer, code, reason=None):
        """The broker ends the connection with that code, and with that reason if one is given."""
        got = peer.end()
        self.assertEqual(got[0], code, got)
        if reason is not None:
            self.assertEqual(got[1], reason)
        # The broker waits for the other half of the closing handshake.
        with contextlib.suppress(OSError):
            peer.send(frame(CLOSE, code.to_bytes(2, "big")))
        self.assertEqual(peer.rest(), b"", "nothing comes after the close frame")

    def assert_memory_bounded(self, act, growth_bytes_max):
        """To act twice leaves hardly more memory behind than to act once."""
        act()
        before = self.broker.memory()
        act()
        growth = self.broker.memory() - before
        self.assertLess(growth, growth_bytes_max, "bytes more than after the first time")

    def call(self, method, body, **headers):
        """Status and answer of a call of the API; an answer that is no JSON is bytes."""
        backend = http.client.HTTPConnection("127.0.0.1", self.broker.port, timeout=LIMIT_S)
        self.addCleanup(backend.close)
        body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        backend.request("POST", f"/api/{method}", body, {"X-API-Key": API_KEY, **headers})
        response = backend.getresponse()
        answer = response.read()
        backend.close()
        with contextlib.suppress(ValueError):
            answer = json.loads(answer)
        return response.status, answer

    def assert_alive(self, peer):
        """The connection answers a command."""
        answer = peer.ask({"id": 4_000_000_000, "unsubscribe": {"channel": "any"}})
        self.assertEqual(answer, {"id": 4_000_000_000, "unsubscribe": {}})

    def _kept(self, peer):
        self.addCleanup(peer.close)
        return peer
