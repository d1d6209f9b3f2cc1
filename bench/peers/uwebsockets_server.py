"""Fan-out by uWebSockets, as the PyPI package `socketify` brings it.

    python3 uwebsockets_server.py PORT

Sockets, topics and fan-out are the C++ library's; Python sees one call per publication. GET
/sub?id=TOPIC subscribes, and what is said on the connection is published there. POST /pub?id=TOPIC
publishes the body.
"""

import sys

from socketify import App, OpCode

app = App()


def upgrade(response, request, context):
    """The topic goes along, since only the request has it."""
    response.upgrade(
        request.get_header("sec-websocket-key"),
        request.get_header("sec-websocket-protocol"),
        request.get_header("sec-websocket-extensions"),
        context,
        request.get_query("id") or "",
    )


def publish(topic, message):
    """The library gathers what it sends until the end of its turn."""
    app.publish(topic, message, OpCode.TEXT)


def on_body(response, topic):
    """A publication over HTTP."""

    parts = []

    def on_part(response, part, is_last):
        parts.append(part or b"")
        if is_last:
            publish(topic, b"".join(parts))
            response.end("ok")

    response.on_data(on_part)


app.ws(
    "/*",
    {
        "compression": 0,
        "max_payload_length": 1 << 20,
        "max_backpressure": 16 << 20,
        "idle_timeout": 120,
        "upgrade": upgrade,
        "open": lambda socket: socket.subscribe(socket.get_user_data()),
        "message": lambda socket, message, _: publish(socket.get_user_data(), message),
    },
)
app.post("/*", lambda response, request: on_body(response, request.get_query("id") or ""))
app.listen({"port": int(sys.argv[1]), "host": "127.0.0.1"}, lambda config: None)
# `app.run()` would poll the loop without rest, to share the thread with asyncio, which nobody needs
# here. This waits in the kernel, as the C++ library does by itself.
app.loop.uv_loop.run()
