"""The closing handshake (RFC 6455, sections 5.5.1 and 7)."""

import struct
import unittest

from echo import CLOSE, CONTINUATION, PING, TEXT, EchoTestCase, each, frame

MAY_BE_SENT = (
    1000,
    1001,
    1002,
    1003,
    1007,
    1008,
    1009,
    1010,
    1011,
    1012,
    1013,
    1014,
    3000,
    3999,
    4000,
    4999,
)
MAY_NOT = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)


def close(code, reason=b""):
    return frame(CLOSE, struct.pack(">H", code) + reason)


class Closing(EchoTestCase):
    @each({str(code): (code,) for code in MAY_BE_SENT})
    def test_a_code_that_may_be_sent_is_answered_by_itself(self, code):
        for reason in (b"", b"because", "bye €".encode(), b"x" * 123):
            client = self.client()
            client.send(close(code, reason))
            self.assert_closed(client, code)

    @each({str(code): (code,) for code in MAY_NOT})
    def test_a_code_that_may_not_be_sent_is_refused(self, code):
        for reason in (b"", b"because"):
            client = self.client()
            client.send(close(code, reason))
            self.assert_closed(client, 1002)

    @each({"whole": (False,), "chopped": (True,)})
    def test_a_close_without_a_code_is_answered_by_one(self, chopped):
        client = self.client()
        (client.send_chopped if chopped else client.send)(frame(CLOSE))
        self.assert_closed(client, None)

    def test_a_close_of_one_byte_is_refused(self):
        client = self.client()
        client.send(frame(CLOSE, b"\x03"))
        self.assert_closed(client, 1002)

    @each({"cut": (b"bye \xe2\x82",), "wrong": (b"\xff",), "surrogate": (b"\xed\xa0\x80",)})
    def test_a_reason_that_is_no_text_is_refused(self, reason):
        client = self.client()
        client.send(close(1000, reason))
        self.assert_closed(client, 1007)

    @each(
        {
            "text": (frame(TEXT, b"late"),),
            "ping": (frame(PING, b"late"),),
            "close": (close(1001),),
            "garbage": (b"\xff" * 100,),
            "much": (frame(TEXT, b"x" * 200_000),),
        }
    )
    def test_what_follows_a_close_is_not_read(self, late):
        client = self.client()
        client.send(frame(TEXT, b"before") + close(1000) + late)
        self.assert_echo(client, TEXT, b"before")
        self.assert_closed(client, 1000)

    def test_a_close_between_fragments_ends_the_message_too(self):
        client = self.client()
        client.send(frame(TEXT, b"begun", fin=False) + close(1000) + frame(CONTINUATION, b"rest"))
        self.assert_closed(client, 1000)

    def test_a_large_echo_comes_before_the_answer_to_the_close_after_it(self):
        client = self.client()
        payload = b"x" * 5_000_000
        client.send(frame(TEXT, payload) + close(1000))
        self.assert_echo(client, TEXT, payload)
        self.assert_closed(client, 1000)


if __name__ == "__main__":
    unittest.main()
