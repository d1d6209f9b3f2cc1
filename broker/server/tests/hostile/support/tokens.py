"""Tokens, good ones and others: JWTs signed with HMAC, written by hand."""

import base64
import hashlib
import hmac
import json
import time

HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def base64url(data):
    """As the parts of a token are spelled."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value):
    """A part of a token: bytes as they are, anything else as JSON."""
    return base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def token(claims, secret, *, algorithm="HS256", header=None, sign=None):
    """A signed token. `header` replaces the usual one, and `sign` names what is signed with."""
    head = {"alg": algorithm, "typ": "JWT"} if header is None else header
    signed = f"{part(head)}.{part(claims)}"
    digest = HASHES[sign or (algorithm if algorithm in HASHES else "HS256")]
    return f"{signed}.{base64url(hmac.digest(secret.encode(), signed.encode(), digest))}"


def soon(seconds=600):
    """A time to come (or, with a negative number, one that has passed), in Unix seconds."""
    return int(time.time()) + seconds
