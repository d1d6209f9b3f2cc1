"""Keys that everybody knows, and servers of keys that answer something else, or nothing."""

import base64
import gzip
import http.server
import json
import threading
import time
import unittest

from support.broker import LIMIT_S
from support.case import HostileTestCase
from support.tokens import base64url, soon, token

OTHER = "the-secret-of-somebody-else-entirely-0123456789"


def claims():
    """Claims of a good connection token."""
    return {"sub": "42", "exp": soon()}


class PublicKeysAsSecrets(HostileTestCase):
    """The public key is known to everybody: it must not be taken for an HMAC secret."""

    PEM = (
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        "-----END PUBLIC KEY-----\n"
    )
    sections = {"client.token": {"ed25519_public_key": PEM}}
    secrets = ("MCowBQYDK2VwAyEA", "eyJ")

    def test_they_sign_nothing(self):
        raw = base64.b64decode(self.PEM.splitlines()[1])
        for secret in (self.PEM, self.PEM.strip(), self.PEM.splitlines()[1]):
            for algorithm in ("HS256", "HS384", "HS512"):
                self.assert_refused(token(claims(), secret, algorithm=algorithm))
            self.assert_refused(token(claims(), secret, header={"alg": "EdDSA"}))
        for raw_secret in (raw, raw[-32:]):
            self.assert_refused(token(claims(), raw_secret.decode("latin-1")))

    def assert_refused(self, text):
        peer = self.upgraded()
        peer.command({"id": 1, "connect": {"token": text}})
        self.assert_closed(peer, 3500)


class KeyServer(http.server.ThreadingHTTPServer):
    """Answers key sets, or something else: what `answer` does with the request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), KeyRequest)
        self.answer = lambda request: request.reply(200, b'{"keys":[]}')
        self.asked = 0
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def leave(self):
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """The broker may hang up; that is no news."""


class KeyRequest(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        self.server.answer(self)

    def reply(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


class BadKeyServers(unittest.TestCase):
    """Where the keys should come from, something else does: the broker serves all the same."""

    def test_the_broker_starts_serves_and_asks_again(self):
        for name in ("garbage", "huge", "redirect", "hang", "drip", "error", "bomb", "weak"):
            with self.subTest(name):
                self.one(name, getattr(self, name))

    def one(self, name, answer):
        server = KeyServer()
        self.addCleanup(server.leave)
        server.answer = answer
        url = f"http://127.0.0.1:{server.server_address[1]}/keys?password=hidden-in-the-url"

        class Case(HostileTestCase):
            sections = {"client.token": {"jwks_public_endpoint": url}}
            secrets = ("hidden-in-the-url", "garbage-that-is-no-key", "eyJ")

            def runTest(self):
                # Whoever names a key that is not there may come again: it may be fetched yet.
                known = {"alg": "EdDSA", "kid": "a"}
                for _ in range(200):
                    self.answered(token(claims(), OTHER, header=known), 100)
                # A secret is never in a key set, so nothing is fetched for it.
                self.refused(token(claims(), OTHER))
                server_asked = server.asked
                deadline = time.monotonic() + LIMIT_S
                while server.asked == 0 and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert server.asked >= 1, "the broker asks for keys"
                assert server_asked <= 5, "a flood of demands is one demand"

            def answered(self, text, code):
                peer = self.upgraded()
                peer.command({"id": 1, "connect": {"token": text}})
                reply = peer.message()
                self.assertEqual(reply["error"]["code"], code)
                self.assertTrue(reply["error"]["temporary"])
                peer.close()

            def refused(self, text):
                peer = self.upgraded()
                peer.command({"id": 1, "connect": {"token": text}})
                self.assert_closed(peer, 3500)

        result = unittest.TestResult()
        unittest.TestSuite([Case()]).run(result)
        self.assertEqual((result.errors, result.failures), ([], []), name)

    @staticmethod
    def garbage(request):
        request.reply(200, b"garbage-that-is-no-key\x00\xff" * 100)

    @staticmethod
    def huge(request):
        request.reply(200, b'{"keys":[' + b" " * (64 << 20) + b"]}")

    @staticmethod
    def redirect(request):
        request.reply(302, b"", Location="http://127.0.0.1:1/?garbage-that-is-no-key")

    @staticmethod
    def error(request):
        request.reply(500, b"garbage-that-is-no-key")

    @staticmethod
    def hang(request):
        request.server.over.wait(LIMIT_S)

    @staticmethod
    def drip(request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not request.server.over.wait(0.05):
            request.wfile.write(b"x")

    @staticmethod
    def bomb(request):
        body = gzip.compress(b'{"keys":[' + b" " * (32 << 20) + b"]}")
        request.reply(200, body, **{"Content-Encoding": "gzip"})

    @staticmethod
    def weak(request):
        keys = [{"kty": "oct", "kid": "a", "k": base64url(OTHER.encode())}]
        keys += [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AAAA"}]
        keys += [{"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB"}] * 50
        keys += [{"kty": "EC", "crv": "P-256", "kid": "a", "x": "AA", "y": "AA"}, 7, None, []]
        request.reply(200, json.dumps({"keys": keys}).encode())


if __name__ == "__main__":
    unittest.main()
