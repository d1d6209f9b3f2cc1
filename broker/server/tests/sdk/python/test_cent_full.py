"""`cent` against all of the server API: history, presence, clients that a backend moves about."""

import base64
import concurrent.futures
import time
import unittest

import cent
from clients import SECRET, token
from support.broker import API_KEY, OPEN_TOPICS, Broker
from support.peer import Closed, Peer

KEPT = {**OPEN_TOPICS, "history_size": 100, "history_ttl": "10m"}
SECTIONS = {
    "namespaces.kept": {**KEPT, "force_recovery": True},
    "namespaces.seen": {**KEPT, "presence": True},
    "namespaces.closed": {"presence": True, "history_size": 10, "history_ttl": "10m"},
    "client.token": {"hmac_secret_key": SECRET},
}


class CentFullTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker.serve({"expired_close_delay": "200ms"}, sections=SECTIONS)
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        self.backend = cent.Client(f"http://127.0.0.1:{self.broker.port}/api", API_KEY)
        self.addCleanup(self.backend.close)

    def peer(self, user, *topics, **claims):
        """A connected client of that user, with the reply to its connect command."""
        peer = Peer.upgraded(self.broker.port)
        self.addCleanup(peer.close)
        connect = {"token": token(user, **claims)}
        peer.told = peer.ask({"id": 1, "connect": connect})["connect"]
        peer.client = peer.told["client"]
        for number, topic in enumerate(topics, 2):
            answer = peer.ask({"id": number, "subscribe": {"channel": topic}})
            self.assertIn("subscribe", answer)
        return peer

    def publish(self, channel, data, **more):
        return self.backend.publish(cent.PublishRequest(channel=channel, data=data, **more))

    def history(self, channel, **more):
        return self.backend.history(cent.HistoryRequest(channel=channel, **more))

    def assert_refused(self, code, function, request):
        with self.assertRaises(cent.CentApiResponseError) as raised:
            function(request)
        self.assertEqual(raised.exception.code, code)

    def test_history(self):
        channel = "kept:history"
        first = self.publish(channel, {"n": 1}, tags={"kind": "ä"})
        for number in range(2, 8):
            answer = self.publish(channel, {"n": number})
            self.assertEqual((answer.offset, answer.epoch), (number, first.epoch))
        self.assertEqual(self.publish(channel, "unkept", skip_history=True).offset, 0)
        read = self.history(channel, limit=2)
        self.assertEqual((read.offset, read.epoch), (7, first.epoch))
        self.assertEqual([each.data for each in read.publications], [{"n": 1}, {"n": 2}])
        self.assertEqual([each.tags for each in read.publications], [{"kind": "ä"}, None])
        since = cent.StreamPosition(offset=5, epoch=first.epoch)
        rest = self.history(channel, limit=-1, since=since)
        self.assertEqual([each.offset for each in rest.publications], [6, 7])
        newest = self.history(channel, limit=3, reverse=True)
        self.assertEqual([each.offset for each in newest.publications], [7, 6, 5])
        self.backend.history_remove(cent.HistoryRemoveRequest(channel=channel))
        self.assertEqual(self.history(channel, limit=-1).publications, [])
        foreign = cent.StreamPosition(offset=5, epoch="foreign")
        request = cent.HistoryRequest(channel=channel, limit=1, since=foreign)
        self.assert_refused(112, self.backend.history, request)
        self.assert_refused(108, self.backend.history, cent.HistoryRequest(channel="plain"))

    def test_publishing_once(self):
        channel = "kept:once"
        listener = self.peer("listener", channel)

        def publish(_):
            backend = cent.Client(f"http://127.0.0.1:{self.broker.port}/api", API_KEY)
            request = cent.PublishRequest(channel=channel, data=1, idempotency_key="one")
            answer = backend.publish(request)
            backend.close()
            return answer.offset, answer.epoch

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = set(pool.map(publish, range(16)))
        self.assertEqual(len(answers), 1)
        self.publish(channel, "last")
        heard = [listener.message()["push"]["pub"]["data"] for _ in range(2)]
        self.assertEqual(heard, [1, "last"])

    def test_bytes(self):
        channel = "kept:bytes"
        listener = self.peer("listener", channel)
        b64data = base64.b64encode(b"\x00\xff").decode()
        self.publish(channel, None, b64data=b64data)
        self.assertEqual(listener.message()["push"]["pub"]["data"], {"b64data": b64data})

    def test_presence(self):
        channel = "seen:room"
        alice = self.peer("alice", channel, info={"name": "Ä"})
        self.peer("bob", channel)
        self.peer("bob", channel)
        there = self.backend.presence(cent.PresenceRequest(channel=channel)).presence
        self.assertEqual(len(there), 3)
        self.assertEqual(there[alice.client].user, "alice")
        self.assertEqual(there[alice.client].conn_info, {"name": "Ä"})
        stats = self.backend.presence_stats(cent.PresenceStatsRequest(channel=channel))
        self.assertEqual((stats.num_clients, stats.num_users), (3, 2))
        request = cent.PresenceRequest(channel="kept:x")
        self.assert_refused(108, self.backend.presence, request)

    def test_subscribing_and_unsubscribing_a_client(self):
        channel = "closed:pushed"
        peer = self.peer("carol")
        override = cent.ChannelOptionsOverride(force_recovery=cent.BoolValue(value=True))
        self.backend.subscribe(
            cent.SubscribeRequest(
                user="carol",
                channel=channel,
                client=peer.client,
                info={"seat": 1},
                data={"hello": 1},
                override=override,
            )
        )
        push = peer.message()["push"]
        self.assertEqual(push["channel"], channel)
        told = push["subscribe"]
        self.assertEqual(told["data"], {"hello": 1})
        self.assertTrue(told["recoverable"] and told["positioned"])
        there = self.backend.presence(cent.PresenceRequest(channel=channel)).presence
        self.assertEqual(there[peer.client].chan_info, {"seat": 1})
        self.publish(channel, 7)
        publication = peer.message()["push"]["pub"]
        self.assertEqual((publication["data"], publication["offset"]), (7, 1))
        self.backend.unsubscribe(cent.UnsubscribeRequest(user="carol", channel=channel))
        self.assertEqual(peer.message()["push"]["unsubscribe"]["code"], 2000)
        there = self.backend.presence(cent.PresenceRequest(channel=channel)).presence
        self.assertEqual(there, {})

    def test_subscribing_where_the_client_left_off(self):
        channel = "kept:since"
        first = self.publish(channel, 1)
        for data in (2, 3):
            self.publish(channel, data)
        peer = self.peer("dave")
        since = cent.StreamPosition(offset=first.offset, epoch=first.epoch)
        request = cent.SubscribeRequest(user="dave", channel=channel, recover_since=since)
        self.backend.subscribe(request)
        told = peer.message()["push"]["subscribe"]
        self.assertEqual(told["epoch"], first.epoch)
        heard = [peer.message()["push"]["pub"] for _ in range(2)]
        self.assertEqual([(each["data"], each["offset"]) for each in heard], [(2, 2), (3, 3)])

    def test_refreshing_a_connection(self):
        peer = self.peer("erin")
        later = int(time.time()) + 500
        self.backend.refresh(cent.RefreshRequest(user="erin", expire_at=later))
        refresh = peer.message()["push"]["refresh"]
        self.assertTrue(refresh["expires"] and 490 < refresh["ttl"] <= 500)
        self.backend.refresh(cent.RefreshRequest(user="erin", client=peer.client, expired=True))
        with self.assertRaises(Closed) as closed:
            peer.message()
        self.assertEqual(closed.exception.code, 3005)

    def test_disconnecting_a_user_but_for_one_client(self):
        kept, *others = [self.peer("frank") for _ in range(4)]
        disconnect = cent.Disconnect(code=4321, reason="elsewhere")
        request = cent.DisconnectRequest(
            user="frank", whitelist=[kept.client], disconnect=disconnect
        )
        self.backend.disconnect(request)
        for peer in others:
            with self.assertRaises(Closed) as closed:
                peer.message()
            self.assertEqual((closed.exception.code, closed.exception.reason), (4321, "elsewhere"))
        self.assertEqual(kept.ask({"id": 9, "unsubscribe": {"channel": "x"}})["id"], 9)

    def test_a_batch_of_everything(self):
        channel = "seen:batch"
        self.peer("grace", channel)
        requests = [
            cent.PublishRequest(channel=channel, data=1),
            cent.BroadcastRequest(channels=[channel, "kept:batch"], data=2),
            cent.HistoryRequest(channel=channel, limit=-1),
            cent.PresenceRequest(channel=channel),
            cent.PresenceStatsRequest(channel=channel),
            cent.ChannelsRequest(pattern=channel),
            cent.InfoRequest(),
            cent.HistoryRemoveRequest(channel=channel),
        ]
        published, cast, history, there, stats, channels, info, _ = self.backend.batch(
            cent.BatchRequest(requests=requests)
        ).replies
        self.assertEqual(published.offset, 1)
        self.assertEqual([answer.result.offset for answer in cast.responses], [2, 1])
        self.assertEqual([each.data for each in history.publications], [1, 2])
        self.assertEqual([each.user for each in there.presence.values()], ["grace"])
        self.assertEqual((stats.num_clients, stats.num_users), (1, 1))
        self.assertEqual(channels.channels[channel].num_clients, 1)
        self.assertGreaterEqual(info.nodes[0].num_users, 1)


if __name__ == "__main__":
    unittest.main()
