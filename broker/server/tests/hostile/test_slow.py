"""Clients that take their time: to speak, to read, or forever."""

import contextlib
import http.client
import json
import threading
import time
import unittest

from support.broker import API_KEY, LIMIT_S
from support.case import HostileTestCase
from support.peer import CLOSE, Closed, frame, upgrade_request


class SlowToSpeak(HostileTestCase):
    client = {"connect_timeout": "1s"}

    def test_who_never_sends_connect_is_closed_with_3502(self):
        self.assert_closed(self.upgraded(), 3502, "stale")

    def test_who_only_pings_is_closed_with_3502(self):
        peer = self.upgraded()
        peer.send(frame(0x9, b"busy"))
        self.assert_closed(peer, 3502)

    def test_who_is_connected_in_time_stays(self):
        peer, late = self.connected(), self.upgraded()
        # When the other one has been closed, the time of this one would be over too.
        self.assert_closed(late, 3502)
        self.assert_alive(peer)

    def test_a_connection_without_a_byte_is_closed(self):
        self.assertEqual(self.tcp().rest(), b"")

    def test_half_a_head_is_not_waited_for(self):
        peer = self.tcp()
        peer.send(upgrade_request()[:40])
        self.assertNotIn(b" 101 ", peer.rest())

    def test_a_head_that_drips_in_is_not_waited_for(self):
        peer = self.tcp()
        over = threading.Event()

        def drip():
            head = b"GET /connection/websocket HTTP/1.1\r\n" + b"X-Drip: x\r\n" * 10_000
            for index in range(len(head)):
                # The pace of the attack, not something that is waited for.
                if over.wait(0.1):
                    return
                try:
                    peer.send(head[index : index + 1])
                except OSError:
                    return

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        try:
            self.assertNotIn(b" 101 ", peer.rest())
        finally:
            over.set()
            dripping.join(LIMIT_S)

    def test_who_does_not_answer_a_close_frame_is_not_waited_for_forever(self):
        peer = self.upgraded()
        self.assertEqual(peer.end()[0], 3502)
        self.assertEqual(peer.rest(), b"")


class SlowToRead(HostileTestCase):
    client = {"outbox_bytes_max": "68KiB"}

    def test_who_stops_reading_is_dropped_while_others_receive_everything(self):
        count, data = 3_000, "x" * 16_000
        slow = self.connected(receive_buffer=8_192)
        fast = self.connected()
        for peer in (slow, fast):
            peer.ask({"id": 2, "subscribe": {"channel": "flood"}})
        heard = []

        def listen():
            with contextlib.suppress(Closed):
                while not heard or heard[-1] < count:
                    heard.append(fast.message()["push"]["pub"]["data"][0])

        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        backend = http.client.HTTPConnection("127.0.0.1", self.broker.port, timeout=LIMIT_S)
        self.addCleanup(backend.close)
        for number in range(1, count + 1):
            self.call(backend, "publish", {"channel": "flood", "data": [number, data]})
            # The fast one must not become a slow one by the speed of this loop.
            if number - len(heard) > 2:
                self.wait_until(lambda at=number: len(heard) >= at - 2 or not listening.is_alive())
        listening.join(LIMIT_S)
        self.assertEqual(heard, list(range(1, count + 1)))

        channels = self.call(backend, "channels", {"pattern": "flood"})["result"]["channels"]
        self.assertEqual(channels, {"flood": {"num_clients": 1}})
        # What the kernel held comes still; then the end, with a close frame or without.
        self.assertIn(self.end_of(slow), (3008, None))

    def test_who_sends_but_never_reads_the_replies_is_dropped(self):
        peer = self.connected(receive_buffer=8_192)
        commands = b"".join(frame(0x1, b'{"id":2,"rpc":{}}') for _ in range(2_000))

        # The broker may discard what comes for a while, but not for as long as it comes.
        deadline = time.monotonic() + LIMIT_S
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < deadline:
                peer.send(commands)

    def end_of(self, peer):
        """The close code, or None for an abrupt end, maybe in the middle of a frame."""
        try:
            while True:
                peer.frame()
        except Closed as closed:
            return closed.code

    def wait_until(self, reached):
        """Polls, because the one who is waited for is a thread of this test."""
        limit = threading.Event()
        for _ in range(LIMIT_S * 1_000):
            if reached() or limit.wait(0.001):
                return
        self.fail("the fast listener hears nothing")

    @staticmethod
    def call(backend, method, body):
        backend.request("POST", f"/api/{method}", json.dumps(body), {"X-API-Key": API_KEY})
        return json.loads(backend.getresponse().read())


class ManyAtOnce(HostileTestCase):
    def test_a_crowd_that_comes_and_goes_rudely_disturbs_nobody(self):
        for _ in range(5):
            crowd = [self.tcp() for _ in range(100)]
            for index, peer in enumerate(crowd):
                with contextlib.suppress(OSError):
                    peer.send(upgrade_request() if index % 3 else b"GET / HTT")
            for index, peer in enumerate(crowd):
                if index % 2:
                    peer.reset()
                else:
                    peer.close()
            self.neighbours.check()

    def test_a_client_that_closes_at_once_after_many_subscribes_disturbs_nobody(self):
        for _ in range(30):
            peer = self.connected()
            topics = (f"gone{index}" for index in range(200))
            peer.command(*({"id": 2, "subscribe": {"channel": topic}} for topic in topics))
            peer.send(frame(CLOSE))
            peer.reset()
        self.neighbours.check()


if __name__ == "__main__":
    unittest.main()
