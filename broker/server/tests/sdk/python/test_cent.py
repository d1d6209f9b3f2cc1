"""The PyPI client `cent` of the server API, unpatched, as a backend uses it."""

import unittest

import cent
from support.broker import API_KEY, Broker
from support.peer import Closed, Peer


class CentTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker.dev()
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        self.backend = self.backend_with(API_KEY)

    def backend_with(self, key):
        backend = cent.Client(f"http://127.0.0.1:{self.broker.port}/api", key)
        self.addCleanup(backend.close)
        return backend

    def listener(self, *topics):
        peer = Peer.connected(self.broker.port)
        self.addCleanup(peer.close)
        for number, topic in enumerate(topics, 2):
            answer = peer.ask({"id": number, "subscribe": {"channel": topic}})
            self.assertEqual(answer, {"id": number, "subscribe": {}})
        return peer

    def test_publish(self):
        listener = self.listener("cent")
        self.backend.publish(cent.PublishRequest(channel="cent", data={"a": ["ü", None]}))
        heard = listener.message()["push"]
        self.assertEqual(heard, {"channel": "cent", "pub": {"data": {"a": ["ü", None]}}})

    def test_publish_into_an_unknown_namespace(self):
        with self.assertRaises(cent.CentApiResponseError) as raised:
            self.backend.publish(cent.PublishRequest(channel="nosuch:x", data={}))
        self.assertEqual(raised.exception.code, 102)

    def test_broadcast(self):
        listener = self.listener("cent1", "cent2")
        channels = ["cent1", "nosuch:x", "cent2"]
        result = self.backend.broadcast(cent.BroadcastRequest(channels=channels, data=7))
        codes = [answer.error and answer.error.code for answer in result.responses]
        self.assertEqual(codes, [None, 102, None])
        heard = sorted(listener.message()["push"]["channel"] for _ in range(2))
        self.assertEqual(heard, ["cent1", "cent2"])

    def test_batch(self):
        listener = self.listener("batch")
        requests = [cent.PublishRequest(channel="batch", data=number) for number in range(5)]
        requests.append(cent.ChannelsRequest(pattern="batch"))
        replies = self.backend.batch(cent.BatchRequest(requests=requests)).replies
        self.assertEqual(len(replies), 6)
        self.assertEqual(replies[-1].channels["batch"].num_clients, 1)
        heard = [listener.message()["push"]["pub"]["data"] for _ in range(5)]
        self.assertEqual(heard, list(range(5)))

    def test_info_and_channels(self):
        self.listener("counted")
        (node,) = self.backend.info(cent.InfoRequest()).nodes
        self.assertTrue(node.uid)
        self.assertTrue(node.name)
        self.assertGreaterEqual(node.num_clients, 1)
        channels = self.backend.channels(cent.ChannelsRequest(pattern="count*")).channels
        counts = {name: each.num_clients for name, each in channels.items()}
        self.assertEqual(counts, {"counted": 1})

    def test_unsubscribe(self):
        listener = self.listener("cut", "kept")
        client = listener.client
        request = cent.UnsubscribeRequest(user="", channel="cut", client=client)
        self.backend.unsubscribe(request)
        push = {"channel": "cut", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}
        self.assertEqual(listener.message(), {"push": push})
        for topic in ("cut", "kept"):
            self.backend.publish(cent.PublishRequest(channel=topic, data=1))
        self.assertEqual(listener.message()["push"]["channel"], "kept")

    def test_disconnect(self):
        listener = self.listener("gone")
        self.backend.disconnect(cent.DisconnectRequest(user="", client=listener.client))
        with self.assertRaises(Closed) as closed:
            listener.message()
        self.assertEqual(closed.exception.code, 3503)
        self.assertEqual(closed.exception.reason, "force disconnect")

    def test_a_wrong_key(self):
        backend = self.backend_with("wrong")
        with self.assertRaises(cent.CentUnauthorizedError):
            backend.publish(cent.PublishRequest(channel="cent", data=1))


if __name__ == "__main__":
    unittest.main()
