"""HTTP by hand: what a backend may do on one connection, and what nobody should."""

import json
import socket
import unittest

from support.broker import API_KEY, LIMIT_S
from support.case import HostileTestCase
from support.peer import Peer, upgrade_request


def request(body, *headers, method="POST", path="/api/publish", key=API_KEY):
    """The bytes of one request with Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    if key:
        lines.append(f"X-API-Key: {key}")
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def publish(channel, data):
    """The body of a publish call."""
    return json.dumps({"channel": channel, "data": data}).encode()


class Backend(Peer):
    """One keep-alive connection of a backend."""

    def response(self):
        """Status, headers in lower case, and body of the next response."""
        status_line, *lines = self.head().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        if headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        else:
            body = bytes(self.exactly(int(headers.get("content-length", 0))))
        return int(status_line.split(" ")[1]), headers, body

    def _chunks(self):
        body = b""
        while True:
            line = bytearray()
            while not line.endswith(b"\r\n"):
                line += self.exactly(1)
            size = int(line, 16)
            body += self.exactly(size)
            self.exactly(2)
            if size == 0:
                return body


class HttpTestCase(HostileTestCase):
    def backend(self):
        return self._kept(Backend(self.broker.port))

    def status(self, data):
        """The status of the answer to these bytes on a connection of their own."""
        backend = self.backend()
        backend.send(data)
        return backend.response()[0]

    def listener(self, topic):
        peer = self.connected()
        peer.ask({"id": 2, "subscribe": {"channel": topic}})
        return peer


class Api(HttpTestCase):
    def test_pipelined_requests_are_answered_in_order(self):
        listener, backend = self.listener("pipe"), self.backend()
        backend.send(b"".join(request(publish("pipe", number)) for number in range(100)))
        unknown = request(publish("nosuch:x", 1))
        backend.send(unknown + request(b"{}", path="/api/info"))
        for _ in range(100):
            self.assertEqual(backend.response()[::2], (200, b'{"result":{}}'))
        status, _, body = backend.response()
        self.assertEqual((status, json.loads(body)["error"]["code"]), (200, 102))
        self.assertIn("nodes", json.loads(backend.response()[2])["result"])
        heard = [listener.message()["push"]["pub"]["data"] for _ in range(100)]
        self.assertEqual(heard, list(range(100)))

    def test_a_chunked_body_is_one_body(self):
        listener, backend = self.listener("chunks"), self.backend()
        body = publish("chunks", "x" * 500)
        backend.send(
            f"POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for start in range(0, len(body), 50):
            chunk = body[start : start + 50]
            backend.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        backend.send(b"0\r\n\r\n")
        self.assertEqual(backend.response()[::2], (200, b'{"result":{}}'))
        self.assertEqual(listener.message()["push"]["pub"]["data"], "x" * 500)

    def test_who_expects_100_continue_gets_it(self):
        backend = self.backend()
        body = publish("expect", 1)
        whole = request(body, "Expect: 100-continue")
        backend.send(whole[: -len(body)])
        self.assertTrue(backend.head().startswith("HTTP/1.1 100 "))
        backend.send(body)
        self.assertEqual(backend.response()[::2], (200, b'{"result":{}}'))

    def test_a_request_in_single_bytes_is_a_request(self):
        backend = self.backend()
        backend.send_slowly(request(publish("bytes", 1)))
        self.assertEqual(backend.response()[::2], (200, b'{"result":{}}'))

    def test_the_connection_stays_after_refusals(self):
        backend = self.backend()
        backend.send(request(b"{}", key="wrong") + request(b"nonsense") + request(publish("x", 1)))
        self.assertEqual([backend.response()[0] for _ in range(3)], [401, 400, 200])

    def test_json_answers_say_so(self):
        backend = self.backend()
        backend.send(request(publish("type", 1)))
        self.assertTrue(backend.response()[1]["content-type"].startswith("application/json"))

    def test_the_key_may_come_in_three_ways(self):
        body = publish("key", 1)
        by_scheme = f"Authorization: apikey {API_KEY}"
        self.assertEqual(self.status(request(body)), 200)
        self.assertEqual(self.status(request(body, by_scheme, key=None)), 200)
        by_query = f"/api/publish?api_key={API_KEY}"
        self.assertEqual(self.status(request(body, key=None, path=by_query)), 200)

    def test_a_wrong_key_or_none_is_401_without_a_body(self):
        body = publish("key", 1)
        good = f"Authorization: apikey {API_KEY}"
        refused = (
            request(body, key=None),
            request(body, key="wrong"),
            request(body, key=API_KEY + "x"),
            request(body, key=API_KEY[:-1]),
            request(body, "Authorization: apikey wrong", key=None),
            request(body, f"Authorization: Bearer {API_KEY}", key=None),
            request(body, key=None, path="/api/publish?api_key=wrong"),
            request(body, key=None, path="/api/publish?api_key="),
            # The first header wins; the second does not repair it.
            request(body, good, key="wrong"),
        )
        for data in refused:
            with self.subTest(data=data):
                backend = self.backend()
                backend.send(data)
                self.assertEqual(backend.response()[::2], (401, b""))

    def test_statuses_of_wrong_requests(self):
        self.assertEqual(self.status(request(b"{}", path="/api/nosuch")), 404)
        self.assertEqual(self.status(request(b"{}", path="/nosuch")), 404)
        for method in ("GET", "PUT", "DELETE"):
            self.assertEqual(self.status(request(b"", method=method)), 405, method)
        for body in (b"", b"{", b"nonsense", b"\xff\xfe", b"[]", b'"text"', b'{"channel":5}'):
            self.assertEqual(self.status(request(body)), 400, body)

    def test_refusals_of_calls(self):
        for body, code in (
            (b'{"data":1}', 107),
            (b'{"channel":"","data":1}', 107),
            (b'{"channel":"x"}', 107),
            (b'{"channel":"nosuch:x","data":1}', 102),
            (publish("x" * 256, 1), 107),
            (publish("a\nb", 1), 107),
        ):
            backend = self.backend()
            backend.send(request(body))
            status, _, answer = backend.response()
            self.assertEqual((status, json.loads(answer)["error"]["code"]), (200, code), body)

    def test_errors_may_be_asked_for_in_the_status(self):
        mode = "X-Centrifugo-Error-Mode: transport"
        refusals = (
            (b'{"channel":"x"}', "/api/publish", 400, 107),
            (b'{"channel":"nosuch:x","data":1}', "/api/publish", 404, 102),
            (b'{"method":"nosuch"}', "/api/rpc", 404, 104),
            (b"{}", "/api/map_stats", 400, 108),
        )
        backend = self.backend()
        for body, path, status, code in refusals:
            with self.subTest(body=body):
                backend.send(request(body, mode, path=path) + request(body, path=path))
                found, headers, answer = backend.response()
                self.assertEqual((found, json.loads(answer)["code"]), (status, code))
                self.assertEqual(headers["content-type"], "application/json")
                found, _, answer = backend.response()
                self.assertEqual((found, json.loads(answer)["error"]["code"]), (200, code))
        backend.send(request(publish("x", 1), mode))
        self.assertEqual(backend.response()[::2], (200, b'{"result":{}}'))

    def test_lines_are_answered_by_lines(self):
        listener, backend = self.listener("lines"), self.backend()
        body = b"\n".join((
            b'{"id":1,"method":"publish","params":{"channel":"lines","data":1}}',
            b'{"method":"nosuch","params":{}}',
            b'{"id":3,"method":"publish","params":{"channel":5}}',
            b'{"id":4,"method":"publish","params":{"channel":"lines","data":2}}\n',
        ))
        backend.send(request(body, path="/api"))
        status, _, answer = backend.response()
        self.assertEqual(status, 200)
        lines = [json.loads(line) for line in answer.split(b"\n")]
        self.assertEqual([line.get("id") for line in lines], [1, None, 3, 4])
        codes = [line.get("error", {}).get("code") for line in lines]
        self.assertEqual(codes, [None, 104, 107, None])
        heard = [listener.message()["push"]["pub"]["data"] for _ in range(2)]
        self.assertEqual(heard, [1, 2])
        for body in (b"", b"[]", b"nonsense", b'{"method":"info"}{'):
            self.assertEqual(self.status(request(body, path="/api")), 400, body)
        self.assertEqual(self.status(request(b"{}", path="/api", method="GET")), 405)
        self.assertEqual(self.status(request(b"{}", path="/api", key="wrong")), 401)

    def test_a_malformed_command_of_a_batch_disturbs_no_other(self):
        listener, backend = self.listener("batch"), self.backend()
        body = (
            b'{"commands":[{"publish":{"channel":5}},{"publish":[]},7,'
            b'{"publish":{"channel":"batch","data":1}}]}'
        )
        backend.send(request(body, path="/api/batch"))
        replies = json.loads(backend.response()[2])["replies"]
        codes = [reply.get("error", {}).get("code") for reply in replies]
        self.assertEqual(codes, [107, 107, 107, None])
        self.assertEqual(listener.message()["push"]["pub"]["data"], 1)

    def test_a_body_above_the_limit_is_413(self):
        backend = self.backend()
        head = request(b"", "X-Note: large").replace(
            b"Content-Length: 0", b"Content-Length: 1000000000"
        )
        backend.send(head)
        self.assertEqual(backend.response()[0], 413)

    def test_who_leaves_before_the_answer_disturbs_nobody(self):
        listener = self.listener("leave")
        for number in range(50):
            backend = self.backend()
            backend.send(request(publish("leave", number)))
            backend.reset()
        backend = self.backend()
        backend.send(request(publish("leave", "last")))
        self.assertEqual(backend.response()[0], 200)
        while listener.message()["push"]["pub"]["data"] != "last":
            pass

    def test_half_a_body_and_gone_publishes_nothing(self):
        listener, backend = self.listener("half"), self.backend()
        backend.send(request(publish("half", 1))[:-1])
        backend.socket.shutdown(socket.SHUT_WR)
        self.assertNotIn(b" 200 ", backend.rest())
        backend = self.backend()
        backend.send(request(publish("half", 2)))
        self.assertEqual(listener.message()["push"]["pub"]["data"], 2)


class Upgrade(HttpTestCase):
    def test_an_incomplete_upgrade_is_a_bad_request(self):
        whole = upgrade_request().decode()
        for missing in ("Sec-WebSocket-Key", "Upgrade: ", "Connection: "):
            lines = [line for line in whole.split("\r\n") if not line.startswith(missing)]
            with self.subTest(missing=missing):
                self.assertIn(self.status("\r\n".join(lines).encode()), (400, 426))

    def test_another_version_of_the_protocol_is_refused_with_the_right_one(self):
        backend = self.backend()
        backend.send(upgrade_request(version=8))
        status, headers, _ = backend.response()
        self.assertIn(status, (400, 426))
        self.assertEqual(headers.get("sec-websocket-version"), "13")

    def test_protobuf_is_spoken_however_it_is_asked_for(self):
        protocols = ["Sec-WebSocket-Protocol: centrifuge-protobuf"]
        for data, echoed in (
            (upgrade_request(headers=protocols), "centrifuge-protobuf"),
            (upgrade_request("/connection/websocket?format=protobuf"), None),
            (upgrade_request("/connection/websocket?cf_protocol=protobuf"), None),
        ):
            backend = self.backend()
            backend.send(data)
            status, headers, _ = backend.response()
            self.assertEqual(status, 101)
            self.assertEqual(headers.get("sec-websocket-protocol"), echoed)

    def test_another_path_is_not_found(self):
        self.assertEqual(self.status(upgrade_request("/connection/nosuch")), 404)


class Garbage(HttpTestCase):
    def test_what_is_no_http_is_a_bad_request(self):
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300) + b"\r\n\r\n",
            b"hello broker\r\n\r\n",
            b"GET / SPDY/9\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nBad Header\r\n\r\n",
            b"POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
            b"POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        ):
            with self.subTest(data=data[:40]):
                answer = self.answer(data)
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer[:60])

    def test_a_head_without_end_is_cut_off(self):
        peer = self.tcp()
        try:
            peer.send(b"GET / HTTP/1.1\r\n" + b"X-Long: yes\r\n" * 200_000)
        except OSError:
            return
        status = peer.rest().split(b" ")[1:2]
        self.assertIn(status, ([b"400"], [b"431"], []))

    def answer(self, data):
        peer = self.tcp()
        peer.socket.settimeout(LIMIT_S)
        peer.send(data)
        return peer.rest()


if __name__ == "__main__":
    unittest.main()
