"""Feeds of publications in lines: cut anywhere, wrong in places, without an end, and unread."""

import contextlib
import json
import signal
import socket
import unittest

from support.broker import API_KEY, OPEN_TOPICS, Broker
from support.case import HostileTestCase
from test_http import Backend, publish, request

OK = {"result": {}}
MANY = "/api/publish_many"


def lines(*bodies):
    """Bodies of publishes, each as a line."""
    return b"".join(body + b"\n" for body in bodies)


def chunk(data):
    """Bytes as one chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Feed(Backend):
    """One request whose end is open, and its answer."""

    def begin(self, *headers, key=API_KEY):
        head = [f"POST {MANY} HTTP/1.1", "Host: x", f"X-API-Key: {key}", *headers]
        self.send("\r\n".join([*head, "Transfer-Encoding: chunked", "", ""]).encode())

    def feed(self, data):
        self.send(chunk(data))

    def begin_answer(self):
        head = self.head()
        self.text = b""
        return head

    def answers(self, count):
        """The next lines of the answer."""
        while self.text.count(b"\n") < count:
            piece = self._chunk()
            assert piece, "the answer ends too early"
            self.text += piece
        *got, self.text = self.text.split(b"\n", count)
        return [json.loads(line) for line in got]

    def last_answers(self):
        """All lines up to the end of the answer."""
        while piece := self._chunk():
            self.text += piece
        assert self.text.endswith(b"\n") or not self.text
        return [json.loads(line) for line in self.text.splitlines()]

    def _chunk(self):
        line = bytearray()
        while not line.endswith(b"\r\n"):
            line += self.exactly(1)
        piece = bytes(self.exactly(int(line, 16)))
        self.exactly(2)
        return piece


class FeedTestCase(HostileTestCase):
    sections = {"api": {"keys": [API_KEY], "body_bytes_max": "64KiB"}}

    def backend(self):
        return self._kept(Backend(self.broker.port))

    def feed(self):
        feed = self._kept(Feed(self.broker.port))
        feed.begin()
        return feed

    def listener(self, topic):
        peer = self.connected()
        peer.ask({"id": 2, "subscribe": {"channel": topic}})
        return peer

    def codes(self, body):
        """The code of each line of the answer to a body, 0 for what was published."""
        backend = self.backend()
        backend.send(request(body, path=MANY))
        status, headers, answer = backend.response()
        self.assertEqual((status, headers["content-type"]), (200, "application/x-ndjson"))
        answers = [json.loads(line) for line in answer.splitlines()]
        return [answer.get("error", {}).get("code", 0) for answer in answers]


class Lines(FeedTestCase):
    def test_ten_thousand_lines_are_published_and_answered_in_order(self):
        listener, backend = self.listener("many"), self.backend()
        body = lines(*(publish("many", number) for number in range(10_000)))
        self.assertGreater(len(body), 4 * 65_536, "more than a body may have elsewhere")
        backend.send(request(body, path=MANY))
        status, _, answer = backend.response()
        self.assertEqual((status, answer), (200, b'{"result":{}}\n' * 10_000))
        heard = [listener.message()["push"]["pub"]["data"] for _ in range(10_000)]
        self.assertEqual(heard, list(range(10_000)))

    def test_a_line_that_is_wrong_is_answered_so_and_the_others_go_on(self):
        listener = self.listener("mixed")
        bodies = [
            publish("mixed", 1),
            b"nonsense",
            publish("nosuch:x", 2),
            b'{"channel":"mixed"}',
            b'{"channel":"mixed","data":"\xff\xfe"}',
            b'{"channel":"mixed","data":1}{"channel":"mixed","data":1}',
            b"[1]",
            b"\0",
            publish("mixed", "x" * 70_000),
            publish("mixed", 3),
        ]
        codes = self.codes(lines(*bodies))
        self.assertEqual(codes, [0, 107, 102, 107, 107, 107, 107, 107, 107, 0])
        heard = [listener.message()["push"]["pub"]["data"] for _ in range(2)]
        self.assertEqual(heard, [1, 3])

    def test_empty_lines_do_not_count_and_the_last_one_may_lack_its_end(self):
        one = publish("ends", 1)
        self.assertEqual(self.codes(b"\n\r\n" + one + b"\r\n\n \n" + one), [0, 0])
        self.assertEqual(self.codes(b""), [])
        self.assertEqual(self.codes(b"\n\n"), [])
        self.assertEqual(self.codes(b"{"), [107])

    def test_a_line_cut_anywhere_is_one_line(self):
        listener, feed = self.listener("cut"), self.feed()
        line = lines(publish("cut", "ü"))
        for index in range(len(line)):
            feed.feed(line[index : index + 1])
        self.assertTrue(feed.begin_answer().startswith("HTTP/1.1 200 "))
        self.assertEqual(feed.answers(1), [OK])
        self.assertEqual(listener.message()["push"]["pub"]["data"], "ü")
        feed.feed(line[:-1])
        feed.send(b"0\r\n\r\n")
        self.assertEqual(feed.last_answers(), [OK])

    def test_lines_are_answered_while_more_are_to_come(self):
        feed = self.feed()
        for number in range(100):
            feed.feed(lines(publish("live", number)))
            if number == 0:
                feed.begin_answer()
            self.assertEqual(feed.answers(1), [OK])
        feed.send(b"0\r\n\r\n")
        self.assertEqual(feed.last_answers(), [])

    def test_the_connection_goes_on_after_a_feed(self):
        backend = self.backend()
        body = lines(*(publish("pipe", number) for number in range(1_000)))
        feed, single = request(body, path=MANY), request(publish("pipe", 1))
        backend.send(single + feed + single + feed)
        for expected in (b'{"result":{}}', b'{"result":{}}\n' * 1_000) * 2:
            self.assertEqual(backend.response()[::2], (200, expected))

    def test_who_expects_100_continue_gets_it_before_the_answer(self):
        backend = self.backend()
        body = lines(publish("expect", 1))
        whole = request(body, "Expect: 100-continue", path=MANY)
        backend.send(whole[: -len(body)])
        self.assertTrue(backend.head().startswith("HTTP/1.1 100 "))
        backend.send(body)
        self.assertEqual(backend.response()[::2], (200, b'{"result":{}}\n'))

    def test_a_feed_needs_a_key_and_is_a_post(self):
        backend = self.backend()
        body = lines(publish("key", 1))
        backend.send(request(body, path=MANY, key="wrong"))
        self.assertEqual(backend.response()[0], 401)
        backend = self.backend()
        backend.send(request(body, path=MANY, method="PUT"))
        self.assertEqual(backend.response()[0], 405)


class Abuse(FeedTestCase):
    def test_half_a_line_of_who_is_gone_is_not_published(self):
        listener = self.listener("gone")
        for leave in (Feed.close, Feed.reset):
            feed = self.feed()
            feed.feed(lines(publish("gone", 1)) + publish("gone", 2))
            feed.begin_answer()
            self.assertEqual(feed.answers(1), [OK])
            leave(feed)
        self.call("publish", {"channel": "gone", "data": 3})
        heard = [listener.message()["push"]["pub"]["data"] for _ in range(3)]
        self.assertEqual(heard, [1, 1, 3])

    def test_a_broken_chunk_ends_the_feed_without_an_end(self):
        feed = self.feed()
        feed.feed(lines(publish("broken", 1)))
        feed.begin_answer()
        self.assertEqual(feed.answers(1), [OK])
        feed.send(b"nonsense\r\n")
        self.assertNotIn(b"0\r\n\r\n", feed.rest())

    def test_lines_without_end_take_no_memory(self):
        def flood():
            feed = self.feed()
            for _ in range(500):
                feed.feed(b"x" * 65_536)
            feed.feed(b"\n" + lines(publish("after", 1)))
            feed.begin_answer()
            first, second = feed.answers(2)
            self.assertEqual((first["error"]["code"], second), (107, OK))
            feed.close()

        self.assert_memory_bounded(flood, 4 << 20)

    def test_a_feed_whose_answers_nobody_reads_is_held_up_with_bounded_memory(self):
        # The shortest line with the longest answer.
        data = chunk(b"x\n" * 30_000)

        def flood():
            feed = self._kept(Feed(self.broker.port, receive_buffer=4_096))
            feed.begin()
            feed.socket.settimeout(1)
            with self.assertRaises(socket.timeout):
                for _ in range(10_000):
                    feed.send(data)
            # The neighbours, who are checked after the test, speak to the same shards.
            feed.socket.settimeout(None)

        self.assert_memory_bounded(flood, 8 << 20)


class Drain(unittest.TestCase):
    def test_a_feed_is_told_that_the_broker_shuts_down(self):
        broker = Broker.serve(sections={"topics": OPEN_TOPICS})
        feed = Feed(broker.port)
        feed.begin()
        feed.feed(lines(publish("drain", 1)))
        feed.begin_answer()
        self.assertEqual(feed.answers(1), [OK])
        waiting = Feed(broker.port)
        waiting.begin()
        # The feed is at the broker when a later request on another connection is answered.
        other = Backend(broker.port)
        other.send(request(publish("drain", 2)))
        self.assertEqual(other.response()[0], 200)
        broker.process.send_signal(signal.SIGTERM)
        shutdown = {"error": {"code": 3001, "message": "shutdown"}}
        self.assertEqual(feed.last_answers(), [shutdown])
        # Who goes on sending meanwhile gets no reset before it has read that.
        with contextlib.suppress(OSError):
            feed.feed(lines(publish("drain", 3)))
        self.assertEqual(feed.rest(), b"")
        waiting.begin_answer()
        self.assertEqual(waiting.last_answers(), [shutdown])
        for peer in (feed, waiting, other):
            peer.close()
        self.assertEqual(broker.wait(), 0)
        self.assertNotIn("panicked", broker.text("stderr"))


if __name__ == "__main__":
    unittest.main()
