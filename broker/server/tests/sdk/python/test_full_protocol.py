"""`centrifuge-python` against all of the protocol, in JSON and in Protobuf."""

import asyncio
import json
import unittest

import cent
import centrifuge
from clients import SECRET, Diary, Form, Proxy, SdkTestCase, token, within
from support.broker import API_KEY, OPEN_TOPICS, Broker

OPEN = {
    **OPEN_TOPICS,
    "allow_history_for_client": True,
    "allow_history_for_anonymous": True,
    "allow_presence_for_client": True,
    "allow_presence_for_anonymous": True,
}
KEPT = {**OPEN, "history_size": 10_000, "history_ttl": "10m", "force_recovery": True}
DELTA = {"allowed_delta_types": ["fossil"], "delta_publish": True}
SECTIONS = {
    "namespaces.kept": {**KEPT, **DELTA},
    "namespaces.short": {**KEPT, "history_size": 5},
    "namespaces.told": {**OPEN, "presence": True, "join_leave": True},
    "namespaces.tagged": {**OPEN, "allow_tags_filter": True},
    "namespaces.closed": {"presence": True},
    "client.token": {"hmac_secret_key": SECRET},
}
CLIENT = {
    "recovery_publications_max": 10_000,
    "expired_close_delay": "2s",
    "expired_sub_close_delay": "2s",
}


class FullProtocol:
    """The tests, for one encoding."""

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker.serve(CLIENT, sections=SECTIONS)
        cls.addClassCleanup(cls.broker.stop)
        cls.backend = cent.Client(f"http://127.0.0.1:{cls.broker.port}/api", API_KEY)
        cls.addClassCleanup(cls.backend.close)

    async def publish(self, topic, *payloads, **more):
        for data in payloads:
            request = cent.PublishRequest(channel=topic, data=data, **more)
            await asyncio.to_thread(self.backend.publish, request)

    async def as_user(self, user, **options):
        claims = options.pop("claims", {})
        return await self.client(self.broker.port, token=token(user, **claims), **options)

    async def away(self, proxy, diary, meanwhile):
        """Cuts the subscriber off; the context of its next beginning."""
        times, lost = len(diary.all("subscribed")), len(diary.all("subscribing"))
        proxy.close()
        await diary.entry("subscribing", lost)
        await meanwhile
        proxy.open()
        return await diary.entry("subscribed", times)

    async def test_recovers_what_it_missed(self):
        async with Proxy.started(self.broker.port) as proxy:
            client, _ = await self.client(proxy.port)
            _, diary = await self.subscribe(client, "kept:cut")
            first = await diary.entry("subscribed")
            self.assertTrue(first.recoverable and first.positioned)
            await self.publish("kept:cut", 0, 1)
            await self.heard(diary, 2)
            back = await self.away(proxy, diary, self.publish("kept:cut", *range(2, 30)))
            self.assertTrue(back.was_recovering and back.recovered)
            await self.publish("kept:cut", 30)
            self.assertEqual(await self.heard(diary, 31), list(range(31)))
            offsets = [context.pub.offset for context in diary.all("publication")]
            self.assertEqual([int(offset) for offset in offsets], list(range(1, 32)))
            await client.disconnect()

    async def test_loses_and_repeats_nothing_in_many_cuts(self):
        total, ahead, topic = 1000, 100, "kept:storm"
        async with Proxy.started(self.broker.port) as proxy:
            client, _ = await self.client(proxy.port)
            _, diary = await self.subscribe(client, topic)
            await diary.entry("subscribed")
            speaker, told = await self.client(self.broker.port)
            await told.entry("connected")

            async def speak():
                for first in range(0, total, 20):
                    payloads = map(self.form.encode, range(first, first + 20))
                    await within(asyncio.gather(*(speaker.publish(topic, p) for p in payloads)))
                    await self.heard(diary, first - ahead)

            async def cut():
                for heard in range(30, total, 60):
                    await self.heard(diary, heard)
                    proxy.cut()

            await asyncio.gather(speak(), cut())
            self.assertEqual(await self.heard(diary, total), list(range(total)))
            returns = diary.all("subscribed")[1:]
            self.assertGreaterEqual(len(returns), 5)
            self.assertTrue(all(context.recovered for context in returns))
            await client.disconnect()

    async def test_is_told_that_it_cannot_recover(self):
        async with Proxy.started(self.broker.port) as proxy:
            client, _ = await self.client(proxy.port)
            _, diary = await self.subscribe(client, "short:trimmed")
            await diary.entry("subscribed")
            await self.publish("short:trimmed", 0)
            await self.heard(diary, 1)
            back = await self.away(proxy, diary, self.publish("short:trimmed", *range(1, 9)))
            self.assertEqual((back.was_recovering, back.recovered), (True, False))
            await self.publish("short:trimmed", 9)
            self.assertEqual(await self.heard(diary, 2), [0, 9])
            await client.disconnect()

    async def test_applies_deltas_also_after_a_recovery(self):
        documents = [
            {"n": n, "text": "Äö漢😀" * 100 + "äöü漢漣😀😁"[n % 7] + "Ü" * 100}
            for n in range(20)
        ]
        async with Proxy.started(self.broker.port) as proxy:
            client, _ = await self.client(proxy.port)
            _, diary = await self.subscribe(
                client, "kept:delta", delta=centrifuge.DeltaType.FOSSIL
            )
            await diary.entry("subscribed")
            await self.publish("kept:delta", *documents[:8])
            self.assertEqual(await self.heard(diary, 8), documents[:8])
            await self.away(proxy, diary, self.publish("kept:delta", *documents[8:12]))
            await self.publish("kept:delta", *documents[12:])
            self.assertEqual(await self.heard(diary, 20), documents)
            patched = [context.pub.delta for context in diary.all("publication")]
            self.assertGreaterEqual(sum(patched), 15)
            await client.disconnect()

    async def test_sees_who_is_there_and_who_comes_and_goes(self):
        topic = "told:all"
        alice, told = await self.as_user("alice", claims={"info": {"name": "Älice"}})
        at_alice, diary = await self.subscribe(alice, topic, join_leave=True)
        self.assertEqual((await diary.entry("join")).info.user, "alice")
        bob, _ = await self.as_user("bob")
        await self.subscribe(bob, topic)
        joined = (await diary.entry("join", 1)).info
        there = (await within(at_alice.presence())).clients
        alice_id = (await told.entry("connected")).client
        self.assertEqual(set(there), {alice_id, joined.client})
        self.assertEqual(there[joined.client].user, "bob")
        self.assertEqual(self.form.decode(there[alice_id].conn_info), {"name": "Älice"})
        stats = await within(at_alice.presence_stats())
        self.assertEqual((stats.num_clients, stats.num_users), (2, 2))
        await bob.disconnect()
        self.assertEqual((await diary.entry("leave")).info.client, joined.client)

    async def test_reads_history_in_pages(self):
        topic = "kept:pages"
        client, told = await self.client(self.broker.port)
        await told.entry("connected")
        await self.publish(topic, *range(1, 26), tags={"kind": "number"})
        empty = await within(client.history(topic))
        self.assertEqual((empty.publications, int(empty.offset)), ([], 25))
        since = centrifuge.StreamPosition(offset=0, epoch=empty.epoch)
        pages = []
        while publications := (
            await within(client.history(topic, limit=10, since=since))
        ).publications:
            pages.append([self.form.decode(each.data) for each in publications])
            self.assertEqual(publications[0].tags, {"kind": "number"})
            since = centrifuge.StreamPosition(int(publications[-1].offset), empty.epoch)
        self.assertEqual([len(page) for page in pages], [10, 10, 5])
        self.assertEqual(sum(pages, []), list(range(1, 26)))
        newest = await within(client.history(topic, limit=3, reverse=True))
        self.assertEqual([self.form.decode(p.data) for p in newest.publications], [25, 24, 23])

    async def test_renews_its_tokens(self):
        async def get_token():
            await asked.add("client", None)
            return token("frank", lives_s=2)

        async def get_subscription_token(channel):
            await asked.add(channel, None)
            return token("frank", lives_s=2, channel=channel)

        asked = Diary()
        claims = {"lives_s": -5}
        client, told = await self.as_user("frank", claims=claims, get_token=get_token)
        await told.entry("connected")
        _, diary = await self.subscribe(client, "$closed:mine", get_token=get_subscription_token)
        await diary.entry("subscribed")
        # By the fourth ones the first would have ended what they began.
        await asked.entries("client", 4)
        await asked.entries("$closed:mine", 4)
        self.assertEqual(len(told.all("connecting")), 1)
        self.assertEqual(len(diary.all("subscribing")), 1)

    async def test_is_refused_with_wrong_tokens(self):
        _, told = await self.client(self.broker.port, token="wrong")
        self.assertEqual((await told.entry("disconnected")).code, 3500)
        client, told = await self.as_user("grace")
        _, diary = await self.subscribe(client, "$closed:x", token="wrong")
        self.assertEqual((await diary.entry("unsubscribed")).code, 103)
        other = token("grace", channel="$closed:y")
        await self.subscribe(client, "$closed:z", token=other)
        self.assertEqual((await told.entry("disconnected")).code, 3500)

    async def test_has_subscriptions_of_the_servers_choice(self):
        claims = {"subs": {"kept:mine": {"info": {"seat": 1}, "data": {"hello": "ü"}}}}
        client, told = await self.as_user("heidi", claims=claims)
        subscribed = await told.entry("subscribed")
        self.assertEqual(subscribed.channel, "kept:mine")
        self.assertEqual(self.form.decode(subscribed.data), {"hello": "ü"})
        await self.publish("kept:mine", "x")
        heard = await told.entry("publication")
        self.assertEqual(self.form.decode(heard.pub.data), "x")
        request = cent.UnsubscribeRequest(user="heidi", channel="kept:mine")
        await asyncio.to_thread(self.backend.unsubscribe, request)
        self.assertEqual((await told.entry("unsubscribed")).channel, "kept:mine")
        await client.disconnect()

    async def test_filters_by_tags(self):
        client, _ = await self.client(self.broker.port)
        wanted = centrifuge.Filter.eq("kind", "goal")
        _, diary = await self.subscribe(client, "tagged:x", tags_filter=wanted)
        await diary.entry("subscribed")
        await self.publish("tagged:x", 1, tags={"kind": "foul"})
        await self.publish("tagged:x", 2)
        await self.publish("tagged:x", 3, tags={"kind": "goal"})
        self.assertEqual(await self.heard(diary, 1), [3])


class JsonTest(FullProtocol, SdkTestCase):
    """In JSON."""


class ProtobufTest(FullProtocol, SdkTestCase):
    """In Protobuf."""

    form = Form(protobuf=True)

    async def test_hears_bytes_as_they_are(self):
        client, told = await self.client(self.broker.port)
        _, diary = await self.subscribe(client, "kept:bytes")
        await diary.entry("subscribed")
        payloads = [b"\x00", b"\xff\xfe\n\x00", json.dumps("ü").encode(), bytes(range(256)) * 50]
        for payload in payloads:
            await within(client.publish("kept:bytes", payload))
        heard = await diary.entries("publication", len(payloads))
        self.assertEqual([context.pub.data for context in heard], payloads)


if __name__ == "__main__":
    unittest.main()
