"""Tokens that are none, somebody else's, or signed with what nobody trusts."""

import contextlib
import unittest

from support.case import HostileTestCase
from support.peer import Closed
from support.tokens import base64url, part, soon, token

SECRET = "the-secret-of-the-connection-tokens-0123456789"
PREVIOUS = "the-secret-before-it-that-is-good-too-987654321"
OTHER = "the-secret-of-somebody-else-entirely-0123456789"
# In the payload of every token below; whoever logs a part of one is found out.
MARK = "a-claim-that-is-nobodys-business"


def claims(**more):
    """Claims of a good connection token; `None` = without this one."""
    all_claims = {"sub": "42", "exp": soon(), "jti": MARK, **more}
    return {name: value for name, value in all_claims.items() if value is not None}


def good(**more):
    return token(claims(**more), SECRET)


def swapped(text):
    """The token with the case of a letter of its signature changed."""
    head, _, signature = text.rpartition(".")
    at = next(index for index, letter in enumerate(signature[:-1]) if letter.isalpha())
    return f"{head}.{signature[:at]}{signature[at].swapcase()}{signature[at + 1 :]}"


class TokenTestCase(HostileTestCase):
    secrets = (SECRET, PREVIOUS, OTHER, MARK, part(MARK)[2:-2], "eyJ")
    sections = {
        "client.token": {"hmac_secret_key": SECRET, "hmac_previous_secret_key": PREVIOUS},
        "namespaces.closed": {"allow_user_limited_channels": True},
    }

    def setUp(self):
        self.seen = set()

    def tearDown(self):
        super().tearDown()
        log = self.broker.text("stderr")
        for text in self.seen:
            tail = text.rpartition(".")[2][:40]
            self.assertFalse(len(tail) > 8 and tail in log, "a token is in the log")

    def connect(self, text):
        """A connection, and the reply to a connect with this token; `Closed` if there is none."""
        self.seen.add(text)
        peer = self.upgraded()
        peer.command({"id": 1, "connect": {"token": text}})
        return peer, peer.message()

    def assert_refused(self, text, code=3500):
        self.seen.add(text)
        peer = self.upgraded()
        peer.command({"id": 1, "connect": {"token": text}})
        self.assert_closed(peer, code)


class ConnectionTokens(TokenTestCase):
    def test_good_ones_get_in(self):
        for text in (
            good(),
            token(claims(), PREVIOUS),
            token(claims(), SECRET, algorithm="HS384"),
            token(claims(), SECRET, algorithm="HS512"),
            good(exp=soon() + 0.5),
            good(sub=None),
            good(sub="x" * 255),
        ):
            peer, reply = self.connect(text)
            self.assertIn("connect", reply)
            self.assert_alive(peer)

    def test_what_is_no_token_closes_with_3500(self):
        head, payload, signature = good().split(".")
        for text in (
            " ",
            ".",
            "..",
            "...",
            "a.b.c",
            "\u0000",
            "ü.ü.ü",
            payload,
            f"{head}.{payload}",
            f"{head}.{payload}.",
            f"{head}..{signature}",
            f".{payload}.{signature}",
            f"{head}.{payload}.{signature}.{signature}",
            f" {good()}",
            f"{good()}\n",
            f"{head}=.{payload}.{signature}",
            f"{head}.{payload}.{signature}=",
            good()[:-1],
            swapped(good()),
            f"{part(b'{')}.{payload}.{signature}",
            f"{part([])}.{payload}.{signature}",
            f"Bearer {good()}",
        ):
            with self.subTest(text=text):
                self.assert_refused(text)

    def test_other_signatures_and_algorithms_close_with_3500(self):
        for text in (
            token(claims(), OTHER),
            token(claims(), ""),
            token(claims(), SECRET[:-1]),
            token(claims(), SECRET, header={"alg": "none"}),
            f"{part({'alg': 'none'})}.{part(claims())}.",
            f"{part({'alg': 'NONE'})}.{part(claims())}.",
            token(claims(), SECRET, header={}),
            token(claims(), SECRET, header={"alg": ""}),
            token(claims(), SECRET, header={"alg": None}),
            token(claims(), SECRET, header={"alg": ["HS256"]}),
            token(claims(), SECRET, header={"alg": "hs256"}),
            token(claims(), SECRET, header={"alg": "HS256 "}),
            token(claims(), SECRET, header={"alg": "HS256", "crit": ["exp"]}),
            token(claims(), SECRET, header={"alg": "HS512"}, sign="HS256"),
            *(
                token(claims(), SECRET, header={"alg": name})
                for name in ("RS256", "ES256", "PS256", "EdDSA", "ES512", "dir", "A128KW")
            ),
            # A key that the token brings itself.
            token(
                claims(),
                OTHER,
                header={"alg": "HS256", "jwk": {"kty": "oct", "k": base64url(OTHER.encode())}},
            ),
            token(claims(), OTHER, header={"alg": "HS256", "jku": "http://127.0.0.1:1/"}),
        ):
            with self.subTest(text=text):
                self.assert_refused(text)

    def test_a_change_of_any_part_closes_with_3500(self):
        head, payload, signature = good().split(".")
        other = good(sub="1").split(".")[1]
        self.assert_refused(f"{head}.{other}.{signature}")
        self.assert_refused(f"{part({'typ': 'JWT', 'alg': 'HS256'})}.{payload}.{signature}")

    def test_claims_of_another_type_close_with_3500(self):
        for wrong in (
            {"sub": 42},
            {"sub": ["42"]},
            {"sub": "x" * 256},
            {"exp": None},
            {"exp": str(soon())},
            {"exp": True},
            {"exp": {}},
            {"nbf": "1"},
            {"nbf": soon(60)},
            {"iat": "1"},
            {"expire_at": "1"},
            {"channels": "news"},
            {"channels": [1]},
            {"subs": []},
            {"subs": {"news": 1}},
            {"b64info": "%%%"},
            {"info": {"a": 1}, "b64info": 7},
            {"channel": "news"},
        ):
            with self.subTest(wrong=wrong):
                self.assert_refused(good(**wrong))
        for payload in (b"[]", b"null", b"7", b'"text"', b"{", b"\xff", b'{"exp":1e999}'):
            with self.subTest(payload=payload):
                self.assert_refused(token(payload, SECRET))

    def test_an_expired_one_is_told_so_and_may_be_followed_by_a_good_one(self):
        for exp in (soon(-3600), 1, 0, -1, -1e300):
            with self.subTest(exp=exp):
                peer, reply = self.connect(good(exp=exp))
                self.assertEqual(reply["error"]["code"], 109)
                # What comes before the next connect is not even looked at.
                peer.command({"id": 2, "subscribe": {"channel": "x"}})
                peer.command({"id": 3, "connect": {"token": good()}})
                self.assertEqual(peer.message()["id"], 3)
                self.assert_alive(peer)

    def test_an_expired_one_of_somebody_else_is_only_wrong(self):
        self.assert_refused(token(claims(exp=1), OTHER))

    def test_an_end_far_away_is_no_overflow(self):
        for exp in (1e15, 1e300, 2**53, 2**64):
            with self.subTest(exp=exp):
                _, reply = self.connect(good(exp=exp))
                self.assertLessEqual(reply["connect"]["ttl"], 366 * 24 * 3600)

    def test_a_topic_of_an_unknown_namespace_is_answered_102(self):
        peer, reply = self.connect(good(channels=["nosuch:x"]))
        self.assertEqual(reply["error"]["code"], 102)
        peer.command({"id": 2, "connect": {"token": good()}})
        self.assertIn("connect", peer.message())

    def test_one_of_16_kib_is_read_and_a_longer_one_is_not(self):
        room = 16 * 1024 - len(good(info=""))
        longest = good(info="x" * (room * 3 // 4 - 8))
        self.assertIn("connect", self.connect(longest)[1])
        self.assert_refused(good(info="x" * room))

    def test_one_nested_without_end_harms_nobody(self):
        nested = b'{"exp":%d,"info":' % soon() + b"[" * 5_000 + b"]" * 5_000 + b"}"
        with contextlib.suppress(Closed):
            self.connect(token(nested, SECRET))
        deep_header = b'{"alg":"HS256","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
        self.assert_refused(f"{base64url(deep_header)}.{part(claims())}.AAAA")

    def test_an_empty_user_is_nobody(self):
        peer, _ = self.connect(good(sub=""))
        answer = peer.ask({"id": 2, "subscribe": {"channel": "closed:#"}})
        self.assertEqual(answer["error"]["code"], 103)
        answer = peer.ask({"id": 3, "subscribe": {"channel": "closed:#42"}})
        self.assertEqual(answer["error"]["code"], 103)

    def test_thousands_of_bad_ones_take_no_memory(self):
        bad = (
            token(claims(info="x" * 8_000), OTHER),
            token(claims(exp=1, info="x" * 8_000), SECRET),
            "x" * 60_000,
        )

        def attack():
            for number in range(1_000):
                peer = self.upgraded()
                peer.command({"id": 1, "connect": {"token": bad[number % 3]}})
                with contextlib.suppress(Closed):
                    self.assertEqual(peer.message()["error"]["code"], 109)
                peer.reset()

        self.assert_memory_bounded(attack, 6 << 20)

    def test_one_peer_may_fail_again_and_again(self):
        peer = self.upgraded()
        for number in range(2_000):
            text = good(exp=number)
            peer.command({"id": number + 1, "connect": {"token": text}})
            self.assertEqual(peer.message()["error"]["code"], 109)
        peer.command({"id": 3_000, "connect": {"token": good()}})
        self.assertIn("connect", peer.message())


class SubscriptionTokens(TokenTestCase):
    def granted(self, **more):
        text = token(claims(**{"channel": "closed:a", **more}), SECRET)
        self.seen.add(text)
        return text

    def user(self):
        peer, _ = self.connect(good())
        return peer

    def test_a_good_one_opens_its_topic(self):
        answer = self.user().ask(self.subscribe(self.granted()))
        self.assertTrue(answer["subscribe"]["expires"])
        answer = self.user().ask(self.subscribe(self.granted(channel="$closed:b"), "$closed:b"))
        self.assertIn("subscribe", answer)

    def test_refusals_that_leave_the_connection(self):
        peer = self.user()
        for text, code in (
            (self.granted(exp=1), 109),
            (self.granted(exp=None), 103),
            (self.granted(exp="1"), 103),
            (self.granted(channel=None), 103),
            (self.granted(channel=7), 103),
            (self.granted(data={}, b64data="%"), 103),
            (self.granted(override={"presence": True}), 103),
            (token(claims(channel="closed:a"), OTHER), 103),
            (token(claims(channel="closed:a"), SECRET, header={"alg": "none"}), 103),
            (good(), 103),
            ("garbage", 103),
            ("x" * 20_000, 103),
        ):
            with self.subTest(text=text):
                answer = peer.ask(self.subscribe(text))
                self.assertEqual(answer["error"]["code"], code)
        self.assertIn("subscribe", peer.ask(self.subscribe(self.granted())))

    def test_a_good_one_of_somebody_else_closes_with_3500(self):
        for text in (
            self.granted(channel="closed:b"),
            self.granted(channel="closed:a "),
            self.granted(sub="43"),
            self.granted(sub=None),
            self.granted(client="00000000-0000-0000-0000-000000000000"),
        ):
            with self.subTest(text=text):
                peer = self.user()
                peer.command(self.subscribe(text))
                self.assert_closed(peer, 3500)

    def test_renewals_that_are_none(self):
        peer = self.user()
        peer.ask(self.subscribe(self.granted()))
        for fields, code in (
            ({"channel": "closed:b", "token": self.granted(channel="closed:b")}, 103),
            ({"channel": "closed:a"}, 107),
            ({"channel": "closed:a", "token": self.granted(exp=1)}, 109),
        ):
            with self.subTest(fields=fields):
                answer = peer.ask({"id": 3, "sub_refresh": fields})
                self.assertEqual(answer["error"]["code"], code)
        peer.command({"id": 4, "sub_refresh": {"channel": "closed:a", "token": "garbage"}})
        self.assert_closed(peer, 3500)

    def test_renewals_of_connections_that_are_none(self):
        for text, code in (
            ("", 3501),
            ("garbage", 3500),
            (good(sub="43"), 3500),
            (good(exp=1), 3005),
            (self.granted(), 3500),
            (good(channels=["x"]), 3010),
        ):
            with self.subTest(text=text):
                peer = self.user()
                peer.command({"id": 2, "refresh": {"token": text}})
                self.assert_closed(peer, code)

    def test_thousands_of_bad_ones_take_no_memory(self):
        peer = self.user()
        bad = token(claims(channel="closed:a", info="x" * 8_000), OTHER)

        def attack():
            for number in range(1_000):
                answer = peer.ask(self.subscribe(bad, f"closed:{number}"))
                self.assertEqual(answer["error"]["code"], 103)

        self.assert_memory_bounded(attack, 6 << 20)
        self.assert_alive(peer)

    @staticmethod
    def subscribe(text, topic="closed:a"):
        return {"id": 2, "subscribe": {"channel": topic, "token": text}}


if __name__ == "__main__":
    unittest.main()
