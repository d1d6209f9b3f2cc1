"""Innocent clients that listen all the time, while something bad happens next to them."""

import contextlib
import functools
import http.client
import json
import socket
import threading

from .broker import API_KEY, LIMIT_S, SHARDS
from .peer import Closed, Peer

TOPIC = "neighbours"


class Neighbours:
    """Listeners, several for each shard, and a backend that speaks to them without a pause.

    Every publication is a number, one more than the last.
    """

    def __init__(self, broker, context=None):
        self._news = threading.Condition()
        self._spoken = 0
        self._over = threading.Event()
        self._failure = None
        self._heard = [[] for _ in range(3 * SHARDS)]
        self._peers = []
        for _ in self._heard:
            peer = Peer.connected(broker.port, context=context)
            answer = peer.ask({"id": 2, "subscribe": {"channel": TOPIC}})
            assert answer == {"id": 2, "subscribe": {}}, answer
            self._peers.append(peer)
        kind = http.client.HTTPConnection
        if context:
            kind = functools.partial(http.client.HTTPSConnection, context=context)
        self._backend = kind("127.0.0.1", broker.port, timeout=LIMIT_S)
        self._threads = [threading.Thread(target=self._speak, daemon=True)]
        for peer, heard in zip(self._peers, self._heard):
            listen = threading.Thread(target=self._listen, args=(peer, heard), daemon=True)
            self._threads.append(listen)
        for thread in self._threads:
            thread.start()

    def check(self):
        """Fails unless every neighbour still hears, and has heard all numbers in order."""
        with self._news:
            # Two more, because one may be on its way already.
            now = self._spoken + 2

            def all_heard():
                return self._failure or all(heard and heard[-1] >= now for heard in self._heard)

            reached = self._news.wait_for(all_heard, LIMIT_S)
            if self._failure:
                raise AssertionError(f"the neighbours were disturbed: {self._failure}")
            for heard in self._heard:
                expected = list(range(1, len(heard) + 1))
                assert heard == expected, f"gap, repetition or disorder: {heard}"
            assert reached, f"{now} did not arrive: {[heard[-1:] for heard in self._heard]}"

    def leave(self):
        """Ends the threads and the connections."""
        self._over.set()
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT_S)
        for peer in self._peers:
            peer.close()
        self._backend.close()

    def _speak(self):
        # The wait paces the speaker; nothing depends on its length.
        while not self._over.wait(0.005):
            body = json.dumps({"channel": TOPIC, "data": self._spoken + 1})
            try:
                self._backend.request("POST", "/api/publish", body, {"X-API-Key": API_KEY})
                answer = self._backend.getresponse().read()
            except OSError as error:
                return self._fail(error)
            if answer != b'{"result":{}}':
                return self._fail(answer)
            with self._news:
                self._spoken += 1

    def _listen(self, peer, heard):
        try:
            while True:
                message = peer.message()
                with self._news:
                    heard.append(message["push"]["pub"]["data"])
                    self._news.notify_all()
        except (Closed, OSError, AssertionError, KeyError) as error:
            self._fail(error)

    def _fail(self, error):
        if self._over.is_set():
            return
        with self._news:
            self._failure = repr(error)
            self._news.notify_all()
