"""Just enough of Protobuf to say what is wrong in it."""

import json

WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 0, 1, 2, 5
# Numbers of the methods in a command and in a reply.
CONNECT, SUBSCRIBE, UNSUBSCRIBE, PUBLISH, PRESENCE, HISTORY = (
    (4, 5),
    (5, 6),
    (6, 7),
    (7, 8),
    (8, 9),
    (10, 11),
)


def varint(number):
    """A number, seven bits a byte."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    """One field: a number, or bytes, or text."""
    if isinstance(value, int):
        return varint(number << 3 | WIRE_VARINT) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | WIRE_BYTES) + varint(len(value)) + value


def command(number, method, body=b""):
    """A command with that id, behind its length."""
    message = field(1, number) + field(method[0], body)
    return varint(len(message)) + message


def read_varint(data, at):
    """The number there, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def fields(data):
    """The fields of a message: number → all its values."""
    found, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == WIRE_VARINT:
            value, at = read_varint(data, at)
        else:
            assert tag & 7 == WIRE_BYTES, tag
            length, at = read_varint(data, at)
            value, at = data[at : at + length], at + length
            assert len(value) == length, "the broker's own length lies"
        found.setdefault(tag >> 3, []).append(value)
    return found


def replies(payload):
    """All messages in the payload of a frame, as fields; `{}` is a ping."""
    found, at = [], 0
    while at < len(payload):
        length, at = read_varint(payload, at)
        found.append(fields(payload[at : at + length]))
        at += length
    return found


def error_code(reply):
    """The code of the error in a reply, or None."""
    return fields(reply[2][0])[1][0] if 2 in reply else None


def data_of(push):
    """The JSON of the publication in a push."""
    return json.loads(fields(fields(push[4][0])[4][0])[4][0])
