"""The PyPI client `centrifuge-python`, unpatched."""

import asyncio
import unittest

import centrifuge
from support.broker import LIMIT_S, Broker


class Heard(centrifuge.SubscriptionEventHandler):
    """Keeps what a subscription hears, and how it ended."""

    def __init__(self):
        self.publications = asyncio.Queue()
        self.unsubscribed = asyncio.get_running_loop().create_future()

    async def on_publication(self, ctx):
        await self.publications.put(ctx.pub)

    async def on_unsubscribed(self, ctx):
        self.unsubscribed.set_result(ctx)

    async def take(self, count):
        """The payloads of the next publications."""
        return [(await within(self.publications.get())).data for _ in range(count)]


class Told(centrifuge.ClientEventHandler):
    """Keeps what a client is told about its connection."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.connected = loop.create_future()
        self.disconnected = loop.create_future()
        self.connecting = asyncio.Queue()

    async def on_connecting(self, ctx):
        await self.connecting.put(ctx)

    async def on_connected(self, ctx):
        if not self.connected.done():
            self.connected.set_result(ctx)

    async def on_disconnected(self, ctx):
        if not self.disconnected.done():
            self.disconnected.set_result(ctx)


async def within(awaitable):
    """The result, or a failure instead of a hang."""
    return await asyncio.wait_for(awaitable, LIMIT_S)


class ClientTest(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = Broker.dev()
        cls.addClassCleanup(cls.broker.stop)

    async def client(self, broker=None):
        port = (broker or self.broker).port
        told = Told()
        address = f"ws://127.0.0.1:{port}/connection/websocket"
        client = centrifuge.Client(address, events=told, proxy=None, max_reconnect_delay=0.3)
        self.addAsyncCleanup(client.disconnect)
        await client.connect()
        context = await within(told.connected)
        self.assertEqual(len(context.client), 36)
        return client, told

    async def subscribe(self, client, topic):
        heard = Heard()
        subscription = client.new_subscription(topic, events=heard)
        await subscription.subscribe()
        await within(subscription.ready())
        return subscription, heard

    async def test_hears_its_own_and_the_others_publications(self):
        (alice, _), (bob, _) = await self.client(), await self.client()
        at_alice, alice_heard = await self.subscribe(alice, "py-talk")
        at_bob, bob_heard = await self.subscribe(bob, "py-talk")
        await within(at_alice.publish({"from": "alice"}))
        await within(at_bob.publish(["from", "bob"]))
        for heard in (alice_heard, bob_heard):
            self.assertEqual(await heard.take(2), [{"from": "alice"}, ["from", "bob"]])

    async def test_many_subscribers_hear_everything_once_in_order(self):
        count = 200
        heard = []
        for _ in range(20):
            client, _ = await self.client()
            _, one = await self.subscribe(client, "py-many")
            heard.append(one)
        speaker, _ = await self.client()
        await within(asyncio.gather(*(speaker.publish("py-many", n) for n in range(count))))
        await within(speaker.publish("py-many", "last"))
        for one in heard:
            self.assertEqual(await one.take(count + 1), [*range(count), "last"])
            self.assertTrue(one.publications.empty())

    async def test_learns_of_refusals(self):
        client, _ = await self.client()
        await self.subscribe(client, "py-refused")
        for code, refused in (
            (102, client.publish("nosuch:x", {})),
            (108, client.presence("py-refused")),
            (108, client.presence_stats("py-refused")),
            (108, client.history("py-refused", limit=1)),
            (108, client.rpc("method", {})),
        ):
            with self.assertRaises(centrifuge.ReplyError) as raised:
                await within(refused)
            self.assertEqual(raised.exception.code, code)
        heard = Heard()
        await client.new_subscription("nosuch:x", events=heard).subscribe()
        self.assertEqual((await within(heard.unsubscribed)).code, 102)

    async def test_unsubscribes_and_comes_back(self):
        client, _ = await self.client()
        subscription, heard = await self.subscribe(client, "py-back")
        await subscription.unsubscribe()
        self.assertEqual((await within(heard.unsubscribed)).code, 0)
        await within(client.publish("py-back", "unheard"))
        await subscription.subscribe()
        await within(subscription.ready())
        await within(client.publish("py-back", "heard"))
        self.assertEqual(await heard.take(1), ["heard"])

    async def test_finds_the_next_broker_on_the_port(self):
        first = Broker.serve()
        client, told = await self.client(first)
        _, heard = await self.subscribe(client, "py-resume")
        await within(told.connecting.get())
        await asyncio.to_thread(first.stop)
        self.assertEqual((await within(told.connecting.get())).code, 3001)
        second = await asyncio.to_thread(Broker.serve, port=first.port)
        try:
            await within(client.ready())
            speaker, _ = await self.client(second)
            at_speaker, _ = await self.subscribe(speaker, "py-resume")
            # The subscription is renewed in the frame of the connect command.
            await within(client._subs["py-resume"].ready())
            await within(at_speaker.publish("again"))
            self.assertEqual(await heard.take(1), ["again"])
            await client.disconnect()
            await speaker.disconnect()
        finally:
            await asyncio.to_thread(second.stop)


if __name__ == "__main__":
    unittest.main()
