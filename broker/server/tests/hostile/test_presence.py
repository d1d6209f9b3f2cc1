"""Presence and tags filters, asked for by those who want too much of it."""

import itertools
import unittest

from support.broker import OPEN_TOPICS
from support.case import HostileTestCase
from support.peer import TEXT, frame


class TopicTestCase(HostileTestCase):
    client = {"topics_max": 100, "presence_members_max": 20}
    sections = {
        "namespaces.crowd": {
            **OPEN_TOPICS,
            "presence": True,
            "join_leave": True,
            "allow_presence_for_client": True,
            "allow_presence_for_anonymous": True,
        },
        "namespaces.tagged": {**OPEN_TOPICS, "allow_tags_filter": True},
    }


class Crowds(TopicTestCase):
    def test_the_list_of_more_members_than_allowed_is_refused_and_their_number_is_not(self):
        crowd = [self.connected() for _ in range(21)]
        asker = self.connected()
        for count, peer in enumerate(crowd, 1):
            peer.ask({"id": 2, "subscribe": {"channel": "crowd:a"}})
            answer = asker.ask({"id": count + 1, "presence": {"channel": "crowd:a"}})
            if count <= 20:
                self.assertEqual(len(answer["presence"]["presence"]), count)
        self.assertEqual(answer["error"]["code"], 106)
        answer = asker.ask({"id": 30, "presence_stats": {"channel": "crowd:a"}})
        self.assertEqual(answer["presence_stats"], {"num_clients": 21, "num_users": 1})
        self.assertEqual(self.call("presence", {"channel": "crowd:a"})[1]["error"]["code"], 106)
        crowd[0].reset()
        while "error" in (answer := asker.ask({"id": 31, "presence": {"channel": "crowd:a"}})):
            self.assertEqual(answer["error"]["code"], 106)
        self.assertEqual(len(answer["presence"]["presence"]), 20)

    def test_floods_of_questions_are_answered(self):
        peer = self.connected()
        peer.ask({"id": 2, "subscribe": {"channel": "crowd:flood"}})
        for method in ("presence", "presence_stats"):
            commands = [{"id": 3, method: {"channel": "crowd:flood"}}] * 1_000
            for _ in range(3):
                peer.command(*commands)
                for _ in commands:
                    self.assertIn(method, peer.message())

    def test_who_joins_and_leaves_without_end_is_not_remembered(self):
        peer = self.connected()

        def attack():
            for _ in range(20):
                peer.command(*itertools.chain.from_iterable(
                    (
                        {"id": 2, "subscribe": {"channel": f"crowd:{number % 80}"}},
                        {"id": 3, "unsubscribe": {"channel": f"crowd:{number % 80}"}},
                    )
                    for number in range(400)
                ))
                for _ in range(800):
                    while "id" not in (answer := peer.message()):
                        pass
                    self.assertNotIn("error", answer)

        self.assert_memory_bounded(attack, 6 << 20)
        # On the way of a client all is in order: nobody is left where it has left.
        for number in range(80):
            answer = peer.ask({"id": 4, "presence_stats": {"channel": f"crowd:{number}"}})
            self.assertEqual(answer["presence_stats"], {"num_clients": 0, "num_users": 0})


class Filters(TopicTestCase):
    def subscribe(self, peer, node, number=2):
        command = {"id": number, "subscribe": {"channel": "tagged:a", "tf": node}}
        return peer.ask(command)

    def test_filters_that_are_none_are_refused(self):
        leaf = {"key": "k", "cmp": "eq", "val": "v"}
        deep = leaf
        for _ in range(17):
            deep = {"op": "not", "nodes": [deep]}
        peer = self.connected()
        for number, node in enumerate((
            {},
            {"op": "nosuch"},
            {"op": "and"},
            {"op": "and", "nodes": []},
            {"op": "not", "nodes": [leaf, leaf]},
            {"cmp": "nosuch", "key": "k", "val": "v"},
            {"cmp": "eq", "key": "", "val": "v"},
            {"cmp": "eq", "key": "k"},
            {"cmp": "in", "key": "k"},
            {"cmp": "in", "key": "k", "vals": ["v"], "val": "v"},
            {"op": "or", "nodes": [leaf] * 128},
            deep,
        )):
            with self.subTest(node=str(node)[:60]):
                answer = self.subscribe(peer, node, 2 + number)
                self.assertEqual(answer["error"]["code"], 107)
        self.assertIn("subscribe", self.subscribe(peer, leaf, 100))

    def test_nesting_without_end_closes_with_3501(self):
        peer = self.connected()
        node = '{"op":"not","nodes":[' * 2_500 + "{}" + "]}" * 2_500
        text = f'{{"id":2,"subscribe":{{"channel":"tagged:a","tf":{node}}}}}'
        peer.send(frame(TEXT, text.encode()))
        self.assert_closed(peer, 3501)

    def test_thousands_of_huge_ones_take_no_memory(self):
        peer = self.connected()
        refused = {"op": "or", "nodes": [{"cmp": "eq", "key": "k", "val": "v"}] * 1_200}
        # A short text takes much more memory than it takes to send it.
        greedy = {"cmp": "in", "key": "k", "vals": [f"{number:x}" for number in range(8_000)]}
        taken = {"cmp": "in", "key": "k", "vals": ["x" * 50] * 390}

        def attack():
            for _ in range(400):
                for node in (refused, greedy):
                    self.assertEqual(self.subscribe(peer, node)["error"]["code"], 107)
                self.assertIn("subscribe", self.subscribe(peer, taken))
                peer.ask({"id": 3, "unsubscribe": {"channel": "tagged:a"}})

        self.assert_memory_bounded(attack, 6 << 20)

    def test_a_filter_hears_what_it_wants_whatever_the_tags_are(self):
        peer = self.connected()
        self.subscribe(peer, {"cmp": "gt", "key": "n", "val": "5"})
        for tags in (
            {"n": "6" * 10_000},
            {"n": "1e400"},
            {"n": "NaN"},
            {"n": "\u0666"},
            {"n": "-6"},
            {},
            {"n": "6"},
        ):
            body = {"channel": "tagged:a", "data": tags.get("n", "")[:4], "tags": tags}
            self.assertEqual(self.call("publish", body), (200, {"result": {}}))
        heard = [peer.message()["push"]["pub"]["data"]]
        while heard[-1] != "6":
            heard.append(peer.message()["push"]["pub"]["data"])
        self.assertTrue(set(heard) <= {"6666", "1e40", "6"}, heard)


if __name__ == "__main__":
    unittest.main()
