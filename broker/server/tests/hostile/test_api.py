"""Calls of backends that ask for too much, twice, or for what is none."""

import http.client
import itertools
import json
import threading
import unittest

from support.broker import API_KEY, LIMIT_S, OPEN_TOPICS
from support.case import HostileTestCase

MARK = "a-payload-that-is-nobodys-business"
KEY = "an-idempotency-key-that-is-nobodys-business"


class ApiTestCase(HostileTestCase):
    client = {"presence_members_max": 50}
    sections = {
        "namespaces.all": {
            **OPEN_TOPICS,
            "history_size": 100,
            "history_ttl": "10m",
            "force_recovery": True,
            "presence": True,
        }
    }
    secrets = (MARK, KEY)

    def result(self, method, **body):
        status, answer = self.call(method, body)
        self.assertEqual(status, 200)
        return answer["result"]

    def code(self, method, body):
        """The error code of a call, or its status if that says it."""
        status, answer = self.call(method, body)
        return answer.get("error", {}).get("code") if status == 200 else status


class Values(ApiTestCase):
    def test_what_is_missing_or_no_value_is_107(self):
        for method, body in (
            ("subscribe", {}),
            ("subscribe", {"channel": ""}),
            ("subscribe", {"channel": "all:x", "expire_at": -1}),
            ("subscribe", {"channel": "all:x", "b64info": "%"}),
            ("unsubscribe", {"user": "u"}),
            ("presence", {}),
            ("presence_stats", {"channel": ""}),
            ("history", {"limit": 1}),
            ("history_remove", {}),
            ("refresh", {"user": "u", "expire_at": -1}),
            ("broadcast", {"data": 1}),
            ("broadcast", {"channels": [], "data": 1}),
            ("publish", {"channel": "all:x", "b64data": "%%%"}),
            ("publish", {"channel": "all:x", "data": 1, "idempotency_key": "k" * 256}),
            ("publish", {"channel": "all:x", "data": 1, "version": 1, "version_epoch": "k" * 256}),
            ("rpc", {}),
        ):
            with self.subTest(method=method, body=body):
                self.assertEqual(self.code(method, body), 107)

    def test_other_refusals(self):
        for method, body, code in (
            ("subscribe", {"channel": "nosuch:x", "user": "u"}, 102),
            ("unsubscribe", {"channel": "nosuch:x", "user": "u"}, 102),
            ("presence", {"channel": "nosuch:x"}, 102),
            ("history", {"channel": "nosuch:x"}, 102),
            ("presence", {"channel": "plain"}, 108),
            ("presence_stats", {"channel": "plain"}, 108),
            ("history", {"channel": "plain"}, 108),
            ("history_remove", {"channel": "plain"}, 108),
            ("subscribe", {"channel": "all:x", "user": "u", "expire_at": 1}, 110),
            ("history", {"channel": "all:x", "since": {"offset": 1, "epoch": "nosuch"}}, 112),
        ):
            with self.subTest(method=method, body=body):
                self.assertEqual(self.code(method, body), code)

    def test_values_of_another_type_are_400(self):
        for method, body in (
            ("publish", {"channel": "all:x", "data": 1, "tags": {"a": 1}}),
            ("publish", {"channel": "all:x", "data": 1, "tags": ["a"]}),
            ("publish", {"channel": "all:x", "data": 1, "version": -1}),
            ("publish", {"channel": "all:x", "data": 1, "version": "1"}),
            ("publish", {"channel": "all:x", "data": 1, "idempotency_key": 7}),
            ("publish", {"channel": "all:x", "data": 1, "delta": "yes"}),
            ("broadcast", {"channels": "all:x", "data": 1}),
            ("broadcast", {"channels": [1], "data": 1}),
            ("history", {"channel": "all:x", "limit": "1"}),
            ("history", {"channel": "all:x", "limit": 2**31}),
            ("history", {"channel": "all:x", "since": 5}),
            ("history", {"channel": "all:x", "since": {"offset": -1, "epoch": ""}}),
            ("history", {"channel": "all:x", "since": {"offset": 2**64, "epoch": ""}}),
            ("disconnect", {"user": "u", "whitelist": "c"}),
            ("disconnect", {"user": "u", "disconnect": {"code": "4000"}}),
            ("refresh", {"user": "u", "expired": 1}),
            ("subscribe", {"channel": "all:x", "override": {"presence": True}}),
            ("subscribe", {"channel": "all:x", "expire_at": "1"}),
            ("channels", {"pattern": 5}),
            ("batch", {"commands": {}}),
            ("batch", {"commands": 5}),
            ("batch", []),
        ):
            with self.subTest(method=method, body=body):
                status, answer = self.call(method, body)
                self.assertEqual(status, 400, answer)

    def test_codes_that_are_none_close_nobody(self):
        peer = self.connected()
        for code in (0, 1, 1000, 2999, 5000, 65_536, 2**32 - 1):
            body = {"client": peer.client, "disconnect": {"code": code, "reason": "r"}}
            with self.subTest(code=code):
                self.assertEqual(self.code("disconnect", body), 107)
        self.assert_alive(peer)

    def test_a_reason_that_no_close_frame_holds_is_never_sent_broken(self):
        peer = self.connected()
        for reason in ("x" * 124, "ü" * 62, "x" * 100_000):
            body = {"client": peer.client, "disconnect": {"code": 4000, "reason": reason}}
            self.assertEqual(self.code("disconnect", body), 107)
        self.assert_alive(peer)
        body = {"client": peer.client, "disconnect": {"code": 4000, "reason": "ü" * 61 + "\0"}}
        self.assertIsNone(self.code("disconnect", body))
        self.assert_closed(peer, 4000, "ü" * 61 + "\0")

    def test_nobody_is_meant_by_clients_that_are_none(self):
        peer = self.connected()
        for client in ("x", "0" * 60_000, "00000000-0000-0000-0000-000000000000", "\n"):
            self.result("unsubscribe", channel="neighbours", client=client)
            self.result("disconnect", client=client)
            self.result("refresh", client=client, expired=True)
        self.result("disconnect", user="nobody")
        self.assert_alive(peer)

    def test_patterns_without_end_are_matched_in_time(self):
        peer = self.connected()
        peer.ask({"id": 2, "subscribe": {"channel": "a" * 250}})
        for pattern in ("*a" * 120 + "b", "?" * 250, "*" * 60_000, "[!", "a" * 60_000):
            self.result("channels", pattern=pattern)


class Twice(ApiTestCase):
    def test_a_key_that_races_on_many_connections_publishes_once(self):
        topic = "all:race"
        listener = self.connected()
        listener.ask({"id": 2, "subscribe": {"channel": topic}})
        answers = []

        def publish(number):
            body = {"channel": topic, "data": 1, "idempotency_key": f"{KEY}{number % 20}"}
            answers.append((number % 20, json.dumps(self.result("publish", **body))))

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        self.assertEqual(len(answers), 200)
        self.assertEqual(len(set(answers)), 20)
        self.assertEqual(self.result("history", channel=topic)["offset"], 20)
        offsets = [listener.message()["push"]["pub"]["offset"] for _ in range(20)]
        self.assertEqual(offsets, list(range(1, 21)))
        body = {"channel": topic, "data": 2, "idempotency_key": f"{KEY}1"}
        self.assertEqual(self.code("publish", body), 113)

    def test_floods_of_keys_cost_no_more_than_they_may(self):
        numbers = itertools.count()

        def flood():
            for _ in range(10):
                publishes = [
                    {
                        "publish": {
                            "channel": f"flood{number % 7}",
                            "data": 1,
                            "idempotency_key": f"{KEY}{number}".ljust(255, "k"),
                        }
                    }
                    for number in itertools.islice(numbers, 1_500)
                ]
                replies = self.call("batch", {"commands": publishes})[1]["replies"]
                self.assertEqual(replies, [{"publish": {}}] * 1_500)

        # 15,000 keys of 255 bytes; each twice, and what the map has around it.
        self.assert_memory_bounded(flood, 24 << 20)

    def test_versions_that_go_back_are_not_published(self):
        listener = self.connected()
        listener.ask({"id": 2, "subscribe": {"channel": "all:version"}})
        for version, epoch in ((5, "a"), (4, "a"), (5, "a"), (2**64 - 1, "a"), (6, "a"), (1, "b")):
            body = {"channel": "all:version", "data": version, "version": version}
            self.result("publish", **body, version_epoch=epoch)
        heard = [listener.message()["push"]["pub"]["data"] for _ in range(3)]
        self.assertEqual(heard, [5, 2**64 - 1, 1])


class Much(ApiTestCase):
    def test_a_batch_asks_for_sixteen_surveys_and_all_the_rest(self):
        surveys = [{"presence": {"channel": "all:much"}}] * 10_000
        replies = self.call("batch", {"commands": surveys})[1]["replies"]
        self.assertEqual(replies[:16], [{"presence": {"presence": {}}}] * 16)
        codes = {reply["error"]["code"] for reply in replies[16:]}
        self.assertEqual((len(replies), codes), (10_000, {106}))
        counts = [{"presence_stats": {"channel": "all:much"}}] * 10_000
        for parallel in (False, True):
            body = {"commands": counts, "parallel": parallel}
            replies = self.call("batch", body)[1]["replies"]
            nobody = {"presence_stats": {"num_clients": 0, "num_users": 0}}
            self.assertEqual(replies, [nobody] * 10_000)

    def test_lines_are_bounded_like_batches(self):
        line = json.dumps({"method": "info", "params": {}, "id": 1})
        status, answer = self.call("", "\n".join([line] * 500))
        self.assertEqual(status, 404)
        backend = http.client.HTTPConnection("127.0.0.1", self.broker.port, timeout=LIMIT_S)
        self.addCleanup(backend.close)
        backend.request("POST", "/api", "\n".join([line] * 500), {"X-API-Key": API_KEY})
        lines = [json.loads(text) for text in backend.getresponse().read().splitlines()]
        self.assertEqual([("error" in answer) for answer in lines], [False] * 16 + [True] * 484)

    def test_batches_within_batches_are_no_command(self):
        nested = {"commands": [{"batch": {"commands": [{"info": {}}]}}]}
        replies = self.call("batch", nested)[1]["replies"]
        self.assertEqual(replies[0]["error"]["code"], 104)
        deep = '{"commands":[{"batch":' * 20_000 + "1" + "}]}" * 20_000
        status, answer = self.call("batch", deep)
        self.assertEqual((status, answer["replies"][0]["error"]["code"]), (200, 104))

    def test_a_broadcast_to_one_topic_ten_thousand_times_is_heard_in_order(self):
        listener = self.connected()
        listener.ask({"id": 2, "subscribe": {"channel": "all:again"}})
        responses = self.result("broadcast", channels=["all:again"] * 3_000, data=MARK)
        offsets = [response["result"]["offset"] for response in responses["responses"]]
        self.assertEqual(offsets, list(range(1, 3_001)))
        heard = [listener.message()["push"]["pub"]["offset"] for _ in offsets]
        self.assertEqual(heard, offsets)

    def test_floods_of_large_histories_take_no_memory_for_long(self):
        publish = {"publish": {"channel": "all:large", "data": MARK * 500}}
        self.call("batch", {"commands": [publish] * 100})

        def flood():
            for _ in range(10):
                commands = [{"history": {"channel": "all:large", "limit": -1}}] * 16
                replies = self.call("batch", {"commands": commands})[1]["replies"]
                lengths = [len(reply["history"]["publications"]) for reply in replies]
                self.assertEqual(lengths, [100] * 16)

        self.assert_memory_bounded(flood, 64 << 20)

    def test_tags_without_end_are_published_or_refused(self):
        tags = {f"tag{number}": "v" * 100 for number in range(1_000)}
        peer = self.connected()
        peer.ask({"id": 2, "subscribe": {"channel": "tags"}})
        code = self.code("publish", {"channel": "tags", "data": 1, "tags": tags})
        self.assertIsNone(code)
        self.assertEqual(peer.message()["push"]["pub"]["tags"], tags)
        tags = {f"tag{number}": "v" * 1_000 for number in range(3_000)}
        code = self.code("publish", {"channel": "tags", "data": 1, "tags": tags})
        self.assertEqual(code, 107)
        self.assert_alive(peer)

    def test_orders_without_end_disturb_nobody(self):
        peer = self.connected()
        commands = []
        for number in range(2_000):
            who = {"channel": f"all:order{number % 200}", "client": peer.client}
            commands += [{"subscribe": who}, {"unsubscribe": who}]
        replies = self.call("batch", {"commands": commands})[1]["replies"]
        expected = [{"subscribe": {}}, {"unsubscribe": {}}] * 2_000
        self.assertEqual(replies, expected)
        pushes = [next(iter(peer.message()["push"].keys() - {"channel"})) for _ in commands]
        self.assertEqual(pushes, ["subscribe", "unsubscribe"] * 2_000)


if __name__ == "__main__":
    unittest.main()
