"""Text is UTF-8, and what is not is refused at its first wrong byte (RFC 6455, section 8.1)."""

import unittest

from echo import BINARY, CONTINUATION, TEXT, EchoTestCase, each, fragments, frame, masked

VALID = {
    "empty": b"",
    "ascii": b"Hello",
    "greek": "κόσμε".encode(),
    "first_of_1": b"\x00",
    "first_of_2": b"\xc2\x80",
    "first_of_3": b"\xe0\xa0\x80",
    "first_of_4": b"\xf0\x90\x80\x80",
    "last_of_1": b"\x7f",
    "last_of_2": b"\xdf\xbf",
    "last_of_3": b"\xef\xbf\xbf",
    "last_of_4": b"\xf4\x8f\xbf\xbf",
    "before_surrogates": b"\xed\x9f\xbf",
    "after_surrogates": b"\xee\x80\x80",
    "replacement": b"\xef\xbf\xbd",
    "noncharacters": "\ufffe\uffff\ufdd0\U0001fffe\U0010ffff".encode(),
    "mixed": "Grüße €, 🦀 𝄞 אבג 한국어".encode() * 5,
}

INVALID = {
    "continuation": b"\x80",
    "continuations": b"\xbf\x80\xbf",
    "every_continuation": bytes(range(0x80, 0xC0)),
    "lone_first_of_2": b"\xc3 ",
    "lone_first_of_3": b"\xe1 ",
    "lone_first_of_4": b"\xf1 ",
    "two_firsts": b"\xc3\xc3\xa4",
    "short_2": b"\xdf",
    "short_3": b"\xef\xbf",
    "short_4": b"\xf4\x8f\xbf",
    "short_then_text": b"\xe2\x82abc",
    "shorts_joined": b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf",
    "fe": b"\xfe",
    "ff": b"\xff",
    "fe_ff": b"\xfe\xfe\xff\xff",
    "five_bytes": b"\xf8\x88\x80\x80\x80",
    "six_bytes": b"\xfc\x84\x80\x80\x80\x80",
    "beyond_the_last": b"\xf4\x90\x80\x80",
    "far_beyond": b"\xf7\xbf\xbf\xbf",
    "overlong_slash_2": b"\xc0\xaf",
    "overlong_slash_3": b"\xe0\x80\xaf",
    "overlong_slash_4": b"\xf0\x80\x80\xaf",
    "overlong_last_2": b"\xc1\xbf",
    "overlong_last_3": b"\xe0\x9f\xbf",
    "overlong_last_4": b"\xf0\x8f\xbf\xbf",
    "overlong_nul": b"\xc0\x80",
    "first_surrogate": b"\xed\xa0\x80",
    "last_high_surrogate": b"\xed\xaf\xbf",
    "first_low_surrogate": b"\xed\xb0\x80",
    "last_surrogate": b"\xed\xbf\xbf",
    "surrogate_pair": b"\xed\xa1\x8c\xed\xbe\xb4",
}


# What completes any character that has begun and can be completed.
COMPLETIONS = (b"", b"\x80", b"\x80\x80", b"\xbf\x80", b"\x80\x80\x80", b"\xbf\x80\x80")


def is_text(text):
    try:
        return text.decode() is not None
    except UnicodeDecodeError:
        return False


def first_wrong(text):
    """Where the first byte is after which a text cannot be UTF-8; None: only its end is wrong."""
    for index in range(len(text)):
        if not any(is_text(text[: index + 1] + rest) for rest in COMPLETIONS):
            return index
    return None


ONCE_WRONG = {name: text for name, text in INVALID.items() if first_wrong(text) is not None}


class Valid(EchoTestCase):
    @each({name: (text,) for name, text in VALID.items()})
    def test_a_text_comes_back(self, text):
        client = self.client()
        client.send(frame(TEXT, text))
        self.assert_echo(client, TEXT, text)
        client.send_chopped(frame(TEXT, text))
        self.assert_echo(client, TEXT, text)
        client.send(fragments(TEXT, text, 1, between=frame(CONTINUATION, b"", fin=False)))
        self.assert_echo(client, TEXT, text)

    @each({name: (text,) for name, text in INVALID.items()})
    def test_binary_may_be_anything(self, text):
        client = self.client()
        client.send(frame(BINARY, text) + fragments(BINARY, text, 1))
        self.assert_echo(client, BINARY, text)
        self.assert_echo(client, BINARY, text)


class Invalid(EchoTestCase):
    @each({name: (text,) for name, text in INVALID.items()})
    def test_a_text_is_refused(self, text):
        for data in (
            frame(TEXT, text),
            frame(TEXT, b"right " + text + b" right"),
            fragments(TEXT, b"right " + text, 1),
            frame(TEXT, text, fin=False) + frame(CONTINUATION, b""),
        ):
            client = self.client()
            client.send(frame(TEXT, b"before") + data + frame(TEXT, b"after"))
            self.assert_echo(client, TEXT, b"before")
            self.assert_closed(client, 1007)

    @each({name: (text,) for name, text in ONCE_WRONG.items()})
    def test_a_fragment_is_refused_before_the_message_ends(self, text):
        client = self.client()
        at = first_wrong(text)
        client.send(frame(TEXT, "größer ".encode() + text[:at], fin=False))
        # Right so far.
        self.assert_alive(client)
        client.send(frame(CONTINUATION, text[at : at + 1], fin=False))
        self.assert_closed(client, 1007)

    @each({name: (text,) for name, text in ONCE_WRONG.items()})
    def test_a_frame_is_refused_before_it_has_come(self, text):
        for opcode in (TEXT, CONTINUATION):
            client = self.client()
            if opcode == CONTINUATION:
                client.send(frame(TEXT, "größer ".encode(), fin=False))
            self.assert_alive(client)
            key = b"abcd"
            right = b"right " + text[: first_wrong(text)]
            wrong = right + text[first_wrong(text) :][:1]
            client.send(frame(opcode, b"", length=100_000, key=key))
            # Byte by byte up to the first wrong one; the rest of the frame never comes.
            client.send_chopped(masked(wrong, key))
            self.assert_closed(client, 1007)


if __name__ == "__main__":
    unittest.main()
