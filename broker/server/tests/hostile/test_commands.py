"""Messages and commands as they must not be."""

import unittest

from support.case import HostileTestCase
from support.peer import TEXT, Closed, encode, frame

DEEP = b"[" * 30_000 + b"]" * 30_000
TEXT_TOO_DEEP = b'{"id":2,"publish":{"channel":"deep","data":' + DEEP + b"}}"


class Messages(HostileTestCase):
    def assert_refused(self, text, code=3501):
        peer = self.connected()
        peer.send(frame(TEXT, text))
        self.assert_closed(peer, code)

    def test_what_is_no_command_closes_with_3501(self):
        texts = (
            b"",
            b"\n",
            b"\n\n",
            b" ",
            b"null",
            b"[]",
            b"1",
            b'"text"',
            b"{",
            b"}",
            b'{"id":2,"publish":{"channel":"x","data":}}',
            b'{"id":2,"publish":{"channel":"x","data":1}} trailing',
            b'{"id":2,"publish":{"channel":"x","data":01}}',
            b"{'id':2}",
            b'{"id":2,"subscribe":[]}',
            b'{"id":2,"subscribe":{"channel":5}}',
            b"\x00",
            b"\xef\xbb\xbf{}",
        )
        for text in texts:
            with self.subTest(text=text):
                self.assert_refused(text)

    def test_an_id_that_is_no_uint32_closes_with_3501(self):
        for number in ("-1", '"2"', "2.5", "4294967296", "1e400", "true", "[]"):
            with self.subTest(id=number):
                self.assert_refused(b'{"id":%s,"unsubscribe":{"channel":"x"}}' % number.encode())

    def test_before_a_blank_line_commands_are_executed(self):
        peer = self.connected()
        subscribe = encode({"id": 2, "subscribe": {"channel": "blank"}})
        publish = encode({"id": 3, "publish": {"channel": "blank", "data": 1}})
        listener = self.connected()
        listener.ask({"id": 2, "subscribe": {"channel": "blank"}})
        peer.send(frame(TEXT, publish + b"\n\n" + subscribe))
        self.assert_closed(peer, 3501)
        self.assertEqual(listener.message()["push"]["pub"]["data"], 1)

    def test_one_newline_at_the_end_is_accepted(self):
        peer = self.connected()
        peer.send(frame(TEXT, encode({"id": 2, "unsubscribe": {"channel": "x"}}) + b"\n"))
        self.assertEqual(peer.message(), {"id": 2, "unsubscribe": {}})

    def test_after_a_command_that_closes_the_rest_is_dropped(self):
        peer, listener = self.connected(), self.connected()
        listener.ask({"id": 2, "subscribe": {"channel": "dropped"}})
        publish = {"id": 3, "publish": {"channel": "dropped", "data": 1}}
        peer.command({"send": {"data": 1}}, publish)
        self.assert_closed(peer, 3508)
        listener.command({"id": 3, "publish": {"channel": "dropped", "data": 2}})
        self.assertEqual(listener.message()["push"]["pub"]["data"], 2)

    def test_text_nested_deeply_harms_nobody(self):
        peer = self.connected()
        peer.send(frame(TEXT, TEXT_TOO_DEEP))
        try:
            self.assertEqual(peer.message()["id"], 2)
        except Closed as closed:
            self.assertEqual(closed.code, 3501)

    def test_leading_spaces_and_unknown_fields_are_accepted(self):
        peer = self.connected()
        text = b'  {"id": 2, "novelty": [1], "unsubscribe": {"channel": "x", "y": 1}}'
        peer.send(frame(TEXT, text))
        self.assertEqual(peer.message(), {"id": 2, "unsubscribe": {}})


class Order(HostileTestCase):
    def test_any_command_before_connect_closes_with_3501(self):
        commands = (
            {"id": 1, "subscribe": {"channel": "x"}},
            {"id": 1, "unsubscribe": {"channel": "x"}},
            {"id": 1, "publish": {"channel": "x", "data": 1}},
            {"id": 1, "presence": {"channel": "x"}},
            {"id": 1, "rpc": {"method": "m"}},
            {"id": 1, "ping": {}},
            {"send": {"data": 1}},
            {},
        )
        for command in commands:
            with self.subTest(command=command):
                peer = self.upgraded()
                peer.command(command)
                self.assert_closed(peer, 3501)

    def test_a_publication_before_connect_is_not_delivered(self):
        peer, listener = self.upgraded(), self.connected()
        listener.ask({"id": 2, "subscribe": {"channel": "stranger"}})
        publish = {"id": 1, "publish": {"channel": "stranger", "data": 1}}
        peer.command(publish, {"id": 2, "connect": {}})
        self.assert_closed(peer, 3501)
        listener.command({"id": 3, "publish": {"channel": "stranger", "data": 2}})
        self.assertEqual(listener.message()["push"]["pub"]["data"], 2)

    def test_a_second_connect_closes_with_3501(self):
        peer = self.connected()
        peer.command({"id": 2, "connect": {}})
        self.assert_closed(peer, 3501)

    def test_a_pong_that_nothing_asked_for_closes_with_3501(self):
        for pong in (b"{}", b'{"id":0}', b'{"id":0,"subscribe":{"channel":"x"}}'):
            with self.subTest(pong=pong):
                peer = self.connected()
                peer.send(frame(TEXT, pong))
                self.assert_closed(peer, 3501)

    def test_a_command_that_does_not_exist_closes_with_3501(self):
        for command in ({"id": 2, "ping": {}}, {"id": 2, "frobnicate": {}}, {"id": 2}):
            with self.subTest(command=command):
                peer = self.connected()
                peer.command(command)
                self.assert_closed(peer, 3501)

    def test_send_closes_with_3508(self):
        peer = self.connected()
        peer.command({"send": {"data": {"a": 1}}})
        self.assert_closed(peer, 3508)

    def test_a_token_that_is_none_does_not_get_in(self):
        peer = self.upgraded()
        peer.command({"id": 1, "connect": {"token": "not.a.token"}})
        self.assert_closed(peer, 3500)


class TopicNames(HostileTestCase):
    METHODS = ("subscribe", "publish", "unsubscribe", "presence", "presence_stats", "history")

    def test_an_empty_topic_closes_with_3501(self):
        for method in self.METHODS:
            for fields in ({"channel": "", "data": 1}, {"data": 1}):
                with self.subTest(method=method, fields=fields):
                    peer = self.connected()
                    peer.command({"id": 2, method: fields})
                    self.assert_closed(peer, 3501)

    def assert_bad_request(self, topic):
        peer = self.connected()
        for number, method in ((2, "subscribe"), (3, "publish")):
            answer = peer.ask({"id": number, method: {"channel": topic, "data": 1}})
            self.assertEqual(answer["error"]["code"], 107, (method, topic))
        self.assert_alive(peer)

    def test_a_topic_of_256_bytes_is_a_bad_request(self):
        self.assert_bad_request("x" * 256)
        self.assert_bad_request("x" * 10_000)

    def test_control_characters_are_a_bad_request(self):
        for character in ("\x00", "\n", "\r", "\t", "\x1b", "\x7f"):
            with self.subTest(character=character):
                self.assert_bad_request(f"a{character}b")

    def test_other_than_ascii_is_a_bad_request(self):
        self.assert_bad_request("tür")

    def test_spaces_and_slashes_are_part_of_a_topic(self):
        peer = self.connected()
        answer = peer.ask({"id": 2, "subscribe": {"channel": "a topic/with everything?&=%"}})
        self.assertEqual(answer, {"id": 2, "subscribe": {}})

    def test_a_private_topic_is_refused_without_a_token(self):
        answer = self.connected().ask({"id": 2, "subscribe": {"channel": "$private"}})
        self.assertEqual(answer["error"]["code"], 103)

    def test_unknown_namespaces_are_answered(self):
        peer = self.connected()
        for topic in ("nosuch:x", ":x", "nosuch:", "$nosuch:x"):
            for number, method in ((2, "publish"), (3, "presence"), (4, "history")):
                answer = peer.ask({"id": number, method: {"channel": topic, "data": 1}})
                self.assertEqual(answer["error"]["code"], 102, (method, topic))
        self.assert_alive(peer)


class Limits(HostileTestCase):
    client = {"topics_max": 4}

    def test_more_topics_than_allowed_are_refused_with_106(self):
        peer = self.connected()
        for number in range(4):
            answer = peer.ask({"id": 2 + number, "subscribe": {"channel": f"limit{number}"}})
            self.assertEqual(answer, {"id": 2 + number, "subscribe": {}})
        answer = peer.ask({"id": 9, "subscribe": {"channel": "limit4"}})
        self.assertEqual(answer["error"]["code"], 106)
        peer.ask({"id": 10, "unsubscribe": {"channel": "limit0"}})
        answer = peer.ask({"id": 11, "subscribe": {"channel": "limit4"}})
        self.assertEqual(answer, {"id": 11, "subscribe": {}})


if __name__ == "__main__":
    unittest.main()
