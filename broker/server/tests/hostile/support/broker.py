"""Starts and ends real brokers.

BROKER_BIN     the program to test (required)
BROKER_SHARDS  its number of shards, 2 unless said otherwise

These names do not begin with FANWIRE_, because the broker refuses variables of that prefix which
it does not know.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

API_KEY = "a-key-for-the-tests"
SHARDS = int(os.environ.get("BROKER_SHARDS", "2"))
# Turns a hang into a failure; no test measures it.
LIMIT_S = 30

OPEN_TOPICS = {
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_client": True,
    "allow_publish_for_anonymous": True,
}


class Broker:
    """One broker process."""

    def __init__(self, arguments, env=None, preexec_fn=None):
        self.process = subprocess.Popen(
            [program(), *arguments],
            env={**clean_environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=preexec_fn,
        )
        self.port = None
        self.config_file = None
        self._lines = {"stdout": [], "stderr": []}
        self._news = threading.Condition()
        self._ended_streams = 0
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True) for name in self._lines
        ]
        for reader in self._readers:
            reader.start()

    @classmethod
    def dev(cls, *arguments, **options):
        """`fanwire dev` on a port of the broker's choice."""
        listen = ["--listen", "127.0.0.1:0", "--shards", str(SHARDS), "--api-key", API_KEY]
        broker = cls(["dev", *listen, *arguments], **options)
        broker.port = int(broker._announced(re.compile(r"ws://127\.0\.0\.1:(\d+)/")))
        return broker

    @classmethod
    def serve(cls, client=None, port=None, sections=None, **options):
        """`fanwire serve` with a file that allows what `dev` allows, and `client` settings.

        `sections` are further ones, as in {"client.token": {…}}; each replaces that of its name.
        """
        port = port or free_port()
        config = {
            "server": {"address": f"127.0.0.1:{port}", "shards": SHARDS},
            "admin": {"address": f"127.0.0.1:{free_port()}"},
            "api": {"keys": [API_KEY]},
            "client": {"anonymous": True, "allowed_origins": ["*"], **(client or {})},
            "topics": OPEN_TOPICS,
            **(sections or {}),
        }
        config_file = write_config(to_toml(config))
        broker = cls(["serve", "--config", config_file], **options)
        broker.config_file = config_file
        broker.port = port
        broker._accepts()
        return broker

    def text(self, stream):
        """Everything that came on `stdout` or `stderr` so far."""
        return "".join(self._lines[stream])

    def memory(self):
        """The memory that the broker has at this moment, in bytes."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            (line,) = (line for line in status if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def stop(self):
        """Ends the broker as an operator would; an error unless it leaves in good order."""
        self.process.send_signal(signal.SIGTERM)
        status = self.wait()
        if self.config_file:
            os.unlink(self.config_file)
        if status != 0 or "panicked" in self.text("stderr"):
            raise AssertionError(f"the broker ended with {status}\n{self.text('stderr')[-4000:]}")

    def wait(self, timeout=LIMIT_S):
        """The exit status, once all output has been read."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"the broker does not end within {timeout} s\n{self.text('stderr')[-4000:]}"
            ) from None
        finally:
            for reader in self._readers:
                reader.join(LIMIT_S)
            self.process.stdout.close()
            self.process.stderr.close()
        return status

    def _read(self, name):
        for line in getattr(self.process, name):
            with self._news:
                self._lines[name].append(line)
                self._news.notify_all()
        with self._news:
            self._ended_streams += 1
            self._news.notify_all()

    def _announced(self, pattern):
        with self._news:
            self._news.wait_for(
                lambda: pattern.search(self.text("stdout")) or self._ended_streams, LIMIT_S
            )
        match = pattern.search(self.text("stdout"))
        if not match:
            self.process.kill()
            raise AssertionError(f"the broker tells no address\n{self.text('stderr')}")
        return match.group(1)

    def _accepts(self):
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), LIMIT_S).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.01)
        self.process.kill()
        raise AssertionError(f"the broker does not start\n{self.text('stderr')}")


def program():
    """The path of the broker."""
    path = os.environ.get("BROKER_BIN")
    if not path:
        raise RuntimeError("BROKER_BIN must name the broker to test")
    return path


def clean_environment():
    """The environment without settings of a broker."""
    return {name: text for name, text in os.environ.items() if not name.startswith("FANWIRE_")}


def free_port():
    """A port below the ephemeral range, so that no outgoing connection takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def write_config(text):
    """The path of a new file with that text."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as file:
        file.write(text)
        return file.name


def to_toml(sections):
    """Sections of strings, numbers, booleans and lists of these: JSON spells them as TOML does."""
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for section, keys in sections.items()
    )
