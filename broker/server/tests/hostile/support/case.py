"""The base of the tests that misbehave towards a broker."""

import contextlib
import unittest

from .broker import Broker
from .neighbours import Neighbours
from .peer import CLOSE, Peer, frame


class HostileTestCase(unittest.TestCase):
    """One broker for the class; after each test its neighbours are checked."""

    # Settings of `[client]`; empty: the broker is `fanwire dev`.
    client = {}

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker.serve(cls.client) if cls.client else Broker.dev()
        cls.addClassCleanup(cls.broker.stop)
        cls.neighbours = Neighbours(cls.broker)
        cls.addClassCleanup(cls.neighbours.leave)

    def tearDown(self):
        self.neighbours.check()
        self.assertIsNone(self.broker.process.poll(), "the broker lives")
        self.assertNotIn("panicked", self.broker.text("stderr"))

    def upgraded(self, **options):
        """A WebSocket that has sent no command yet."""
        return self._kept(Peer.upgraded(self.broker.port, **options))

    def connected(self, **options):
        """A WebSocket whose connect command has been answered."""
        return self._kept(Peer.connected(self.broker.port, **options))

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

    def assert_alive(self, peer):
        """The connection answers a command."""
        answer = peer.ask({"id": 4_000_000_000, "unsubscribe": {"channel": "any"}})
        self.assertEqual(answer, {"id": 4_000_000_000, "unsubscribe": {}})

    def _kept(self, peer):
        self.addCleanup(peer.close)
        return peer
