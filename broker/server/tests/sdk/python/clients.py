"""The PyPI client `centrifuge-python` with its events kept, and what is between it and a broker."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
import unittest

import centrifuge
from support.broker import LIMIT_S

SECRET = "a-secret-of-the-tests-with-more-than-32-bytes"


async def within(awaitable):
    """The result, or a failure instead of a hang."""
    return await asyncio.wait_for(awaitable, LIMIT_S)


class Diary:
    """A list of `(name, context)` that can be waited on."""

    def __init__(self):
        self.items = []
        self._news = asyncio.Condition()

    async def add(self, name, context):
        async with self._news:
            self.items.append((name, context))
            self._news.notify_all()

    def all(self, name):
        """The contexts of that name so far."""
        return [context for each, context in self.items if each == name]

    async def entries(self, name, count):
        """The contexts of that name as soon as there are `count` of them."""
        async with self._news:
            try:
                await within(self._news.wait_for(lambda: len(self.all(name)) >= count))
            except asyncio.TimeoutError:
                names = [each for each, _ in self.items]
                raise AssertionError(f"no {count} of {name}: {names[-50:]}") from None
        return self.all(name)

    async def entry(self, name, number=0):
        """The context of that name with this number, counted from 0."""
        return (await self.entries(name, number + 1))[number]


class Kept:
    """Event handlers that keep everything in a diary: `on_joined` as "joined"."""

    def __init__(self):
        self.diary = Diary()

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda context: self.diary.add(name.removeprefix("on_"), context)


class ClientEvents(Kept, centrifuge.ClientEventHandler):
    """Of a client."""


class SubscriptionEvents(Kept, centrifuge.SubscriptionEventHandler):
    """Of a subscription."""


class Form:
    """An encoding of the SDK. With Protobuf an application hands over bytes: JSON texts here."""

    def __init__(self, protobuf):
        self.protobuf = protobuf

    def encode(self, value):
        return json.dumps(value).encode() if self.protobuf else value

    def decode(self, data):
        return json.loads(data) if self.protobuf else data


class SdkTestCase(unittest.IsolatedAsyncioTestCase):
    """Clients of one encoding, closed at the end of each test."""

    form = Form(protobuf=False)

    async def client(self, port, **options):
        """A client that connects, with its diary."""
        events = ClientEvents()
        client = centrifuge.Client(
            f"ws://127.0.0.1:{port}/connection/websocket",
            events=events,
            proxy=None,
            use_protobuf=self.form.protobuf,
            min_reconnect_delay=0.02,
            max_reconnect_delay=0.2,
            **options,
        )
        self.addAsyncCleanup(client.disconnect)
        await client.connect()
        return client, events.diary

    async def subscribe(self, client, topic, **options):
        """A subscription that is asked for, with its diary."""
        events = SubscriptionEvents()
        subscription = client.new_subscription(
            topic, events=events, min_resubscribe_delay=0.02, max_resubscribe_delay=0.2, **options
        )
        await subscription.subscribe()
        return subscription, events.diary

    async def heard(self, diary, count):
        """The payloads of the first `count` publications."""
        contexts = await diary.entries("publication", count)
        return [self.form.decode(context.pub.data) for context in contexts]


class Proxy:
    """A TCP proxy that can be cut without any goodbye."""

    def __init__(self, port):
        self._broker = port
        self._writers = set()
        self._is_open = True
        self.port = None

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, port):
        """In front of the broker at that port."""
        proxy = cls(port)
        server = await asyncio.start_server(proxy._join, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            proxy.close()
            server.close()

    def cut(self):
        """Breaks every connection; what is still on its way is lost."""
        for writer in self._writers:
            writer.transport.abort()

    def close(self):
        """Cuts, and lets nobody through until `open()`."""
        self._is_open = False
        self.cut()

    def open(self):
        self._is_open = True

    async def _join(self, reader, writer):
        if not self._is_open:
            return writer.transport.abort()
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._broker)
        pair = {writer, broker_writer}
        self._writers |= pair
        if not self._is_open:
            self.cut()
        ways = self._pump(reader, broker_writer), self._pump(broker_reader, writer)
        await asyncio.gather(*ways, return_exceptions=True)
        self._writers -= pair
        return None

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()


def jwt(claims, secret=SECRET):
    """A token that says `claims`, signed with HS256."""
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    text = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{_base64url(signature)}"


def token(user, lives_s=3600, **claims):
    """A connection token; with a claim `channel` a subscription token."""
    return jwt({"sub": user, "exp": int(time.time()) + lives_s, **claims})


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
