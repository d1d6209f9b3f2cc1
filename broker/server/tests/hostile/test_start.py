"""A broker that cannot start says why and what to do, in one or two lines, and ends at once."""

import contextlib
import errno
import os
import resource
import socket
import threading
import time
import unittest

from support import restrict
from support.broker import API_KEY, SHARDS, Broker, free_port, to_toml, write_config
from support.peer import CLOSE, Peer, frame

# From the requirements: an operator is not left waiting.
ENDS_WITHIN_S = 2


class StartTestCase(unittest.TestCase):
    def assert_refuses(self, arguments, *words, **options):
        """The program ends at once with a short message that contains all the words."""
        started = time.monotonic()
        broker = Broker(arguments, **options)
        status = broker.wait()
        seconds = time.monotonic() - started
        message = broker.text("stderr")
        self.assertNotEqual(status, 0, message)
        self.assertGreater(status, 0, f"ended by a signal: {message}")
        self.assertLess(seconds, ENDS_WITHIN_S, message)
        self.assertNotIn("panicked", message)
        self.assertIn(len(message.strip().splitlines()), (1, 2), message)
        for word in words:
            self.assertIn(word.lower(), message.lower())
        return message

    def dev(self, port, host="127.0.0.1"):
        return ["dev", "--listen", f"{host}:{port}", "--shards", str(SHARDS), "--api-key", API_KEY]

    def serve(self, text):
        path = write_config(text)
        self.addCleanup(os.unlink, path)
        return ["serve", "--config", path]

    def other_program(self, port, *options):
        listener = socket.socket()
        self.addCleanup(listener.close)
        for option in options:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        return listener


class Addresses(StartTestCase):
    def test_a_port_of_another_program_is_refused(self):
        port = free_port()
        self.other_program(port, socket.SO_REUSEADDR)
        self.assert_refuses(self.dev(port), str(port), "in use")

    def test_a_port_of_another_program_that_shares_it_is_refused(self):
        port = free_port()
        self.other_program(port, socket.SO_REUSEPORT)
        self.assert_refuses(self.dev(port), str(port), "in use")

    def test_a_second_instance_is_refused_and_the_first_one_goes_on(self):
        first = Broker.serve()
        self.addCleanup(first.stop)
        for host in ("127.0.0.1", "0.0.0.0"):
            with self.subTest(host=host):
                self.assert_refuses(self.dev(first.port, host), str(first.port), "in use")
        # Every connection must find the first one: none hangs in a socket of the second.
        for _ in range(20):
            Peer.connected(first.port).close()

    def test_of_two_that_start_at_the_same_moment_one_gets_the_port(self):
        for _ in range(3):
            arguments = self.dev(free_port())
            both = [Broker(arguments), Broker(arguments)]
            ended = []
            deadline = time.monotonic() + 30
            while not ended and time.monotonic() < deadline:
                ended = [broker for broker in both if broker.process.poll() is not None]
                time.sleep(0.01)
            self.assertEqual(len(ended), 1, "one of the two ends")
            (loser,) = ended
            (winner,) = (broker for broker in both if broker is not loser)
            self.assertNotEqual(loser.wait(), 0)
            self.assertIn("in use", loser.text("stderr"))
            winner.port = int(arguments[2].rpartition(":")[2])
            winner._accepts()
            Peer.connected(winner.port).close()
            winner.stop()

    def test_the_port_is_free_again_after_a_broker_has_ended(self):
        port = free_port()
        for _ in range(2):
            broker = Broker.serve(port=port)
            peer = Peer.connected(port)
            broker.stop()
            peer.close()

    def test_a_taken_admin_port_is_refused(self):
        port = free_port()
        self.other_program(port)
        text = f'[server]\naddress = "127.0.0.1:{free_port()}"\n'
        text += f'[admin]\naddress = "127.0.0.1:{port}"\n'
        self.assert_refuses(self.serve(text), str(port), "in use", "admin")

    def test_an_address_that_is_not_ours_is_refused(self):
        self.assert_refuses(self.dev(8000, "192.0.2.1"), "192.0.2.1")

    def test_an_address_that_is_none_is_refused(self):
        broker = Broker(["dev", "--listen", "nonsense"])
        self.assertNotEqual(broker.wait(), 0)
        self.assertIn("nonsense", broker.text("stderr"))
        self.assertNotIn("panicked", broker.text("stderr"))


class End(StartTestCase):
    """A broker whose clients answer does not sit out the time that it allows for a drain."""

    def assert_ends_at_once(self, broker):
        broker.process.terminate()
        self.assertEqual(broker.wait(ENDS_WITHIN_S), 0)
        self.assertNotIn("in time", broker.text("stderr"))

    def test_without_clients_it_ends_at_once(self):
        self.assert_ends_at_once(Broker.dev())

    def test_with_clients_that_answer_it_ends_at_once(self):
        broker = Broker.dev()
        peers = [Peer.connected(broker.port) for _ in range(20)]
        listening = [threading.Thread(target=leave_when_told, args=(peer,)) for peer in peers]
        for thread in listening:
            thread.start()
        self.assert_ends_at_once(broker)
        for thread in listening:
            thread.join()

    def test_a_client_that_does_not_answer_delays_the_end_but_does_not_prevent_it(self):
        broker = Broker.dev()
        peer = Peer.connected(broker.port)
        self.addCleanup(peer.close)
        broker.stop()
        self.assertEqual(peer.end(), (3001, "shutdown"))


def leave_when_told(peer):
    """Answers the close frame, as a WebSocket does."""
    code, _ = peer.end()
    with contextlib.suppress(OSError):
        peer.send(frame(CLOSE, code.to_bytes(2, "big")))
    peer.rest()
    peer.close()


class Configuration(StartTestCase):
    def test_an_unknown_key_is_named_with_its_line(self):
        text = '[server]\nshards = 1\naddres = "127.0.0.1:8000"\n'
        self.assert_refuses(self.serve(text), "addres", ":3")

    def test_an_unknown_section_is_named(self):
        self.assert_refuses(self.serve("[sever]\nshards = 1\n"), "sever")

    def test_a_value_of_the_wrong_kind_is_named(self):
        self.assert_refuses(self.serve('[server]\nshards = "many"\n'), "shards")
        self.assert_refuses(self.serve('[client]\nping_interval = "often"\n'), "ping_interval")

    def test_values_that_contradict_each_other_are_named(self):
        text = '[client]\nping_interval = "5s"\npong_timeout = "6s"\n'
        self.assert_refuses(self.serve(text), "ping_interval", "pong_timeout")

    def test_text_that_is_no_toml_is_refused(self):
        self.assert_refuses(self.serve("[server\nshards = 1\n"))

    def test_a_file_that_is_not_there_is_named(self):
        self.assert_refuses(["serve", "--config", "/nonexistent/fanwire.toml"], "/nonexistent")

    def test_an_unknown_variable_is_named(self):
        port = free_port()
        variables = {"FANWIRE_SERVER_ADRESS": "127.0.0.1:1"}
        arguments = self.serve(to_toml({"server": {"address": f"127.0.0.1:{port}"}}))
        self.assert_refuses(arguments, "FANWIRE_SERVER_ADRESS", env=variables)

    def test_an_unknown_flag_is_named(self):
        broker = Broker(["dev", "--nonsense"])
        self.assertEqual(broker.wait(), 2)
        self.assertIn("--nonsense", broker.text("stderr"))


class Host(StartTestCase):
    def test_too_few_descriptors_are_told(self):
        arguments = self.dev(free_port())
        self.assert_refuses(arguments, "nofile", preexec_fn=restrict.few_descriptors(64))

    def test_a_low_soft_limit_of_descriptors_is_raised(self):
        def low_soft_limit():
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

        broker = Broker.dev(preexec_fn=low_soft_limit)
        self.addCleanup(broker.stop)
        peers = [Peer.connected(broker.port) for _ in range(100)]
        for peer in peers:
            peer.close()

    def test_too_little_locked_memory_is_told(self):
        limit = restrict.little_locked_memory(64 * 1024)
        self.assert_refuses(self.dev(free_port()), "memlock", preexec_fn=limit)

    def test_a_denied_io_uring_is_told(self):
        for error in (errno.EPERM, errno.ENOSYS, errno.EACCES):
            with self.subTest(error=errno.errorcode[error]):
                denied = restrict.no_io_uring(error)
                self.assert_refuses(self.dev(free_port()), "io_uring", preexec_fn=denied)


if __name__ == "__main__":
    unittest.main()
