"""Fan-out over the PyPI package `websockets`, with its `broadcast`.

    python3 websockets_server.py PORT

GET /…?id=TOPIC subscribes, and what is said on the connection is published there. The package
serves no POST.
"""

import asyncio
import sys
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import broadcast, serve

TOPICS = defaultdict(set)


async def listen(connection):
    """One connection, from its first message to its end."""
    query = parse_qs(urlsplit(connection.request.path).query)
    subscribers = TOPICS[query.get("id", [""])[0]]
    subscribers.add(connection)
    try:
        async for message in connection:
            broadcast(subscribers, message)
    finally:
        subscribers.discard(connection)


async def main():
    """Serves until it is told to end."""
    address = ("127.0.0.1", int(sys.argv[1]))
    async with serve(listen, *address, compression=None, backlog=4096) as server:
        await server.serve_forever()


asyncio.run(main())
