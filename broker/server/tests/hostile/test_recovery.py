"""History and recovery, asked for by those who want too much of it."""

import contextlib
import itertools
import unittest

from support.broker import OPEN_TOPICS
from support.case import HostileTestCase
from support.peer import TEXT, Closed, encode, frame

MARK = "a-payload-that-is-nobodys-business"
KEEPS = {
    **OPEN_TOPICS,
    "history_size": 300,
    "history_ttl": "10m",
    "allow_history_for_client": True,
    "allow_history_for_anonymous": True,
    "force_recovery": True,
}
SECTIONS = {
    "namespaces.kept": KEEPS,
    "namespaces.large": KEEPS,
    "namespaces.newest": {**KEEPS, "force_recovery_mode": "cache"},
    "namespaces.pattern": {**OPEN_TOPICS, "channel_regex": "^(a+)+$"},
}


class KeptTestCase(HostileTestCase):
    client = {"topics_max": 100}
    sections = SECTIONS
    secrets = (MARK,)

    def fill(self, topic, count, data=MARK):
        """Publishes so often, and answers the last position."""
        publish = {"publish": {"channel": topic, "data": data}}
        # As many at a time as a body holds.
        step = (3 << 20) // (len(data) + 100)
        for done in range(0, count, step):
            commands = [publish] * min(step, count - done)
            status, answer = self.call("batch", {"commands": commands})
            self.assertEqual(status, 200)
        return answer["replies"][-1]["publish"]

    @staticmethod
    def recover(topic, number=2, **fields):
        return {"id": number, "subscribe": {"channel": topic, "recover": True, **fields}}


class Positions(KeptTestCase):
    def test_positions_that_never_were_recover_nothing(self):
        last = self.fill("kept:never", 10)
        epoch = last["epoch"]
        for fields in (
            {"epoch": "nosuch", "offset": 3},
            {"epoch": "x" * 60_000, "offset": 3},
            {"epoch": epoch[::-1] + "x", "offset": 10},
            {"epoch": epoch.swapcase(), "offset": 10},
            {"epoch": epoch, "offset": 11},
            {"epoch": epoch, "offset": 2**63},
            {"epoch": epoch, "offset": 2**64 - 1},
            {"epoch": "", "offset": 2**64 - 1},
        ):
            with self.subTest(fields=str(fields)[:60]):
                result = self.connected().ask(self.recover("kept:never", **fields))["subscribe"]
                self.assertNotIn("recovered", result)
                self.assertNotIn("publications", result)
                self.assertEqual((result["epoch"], result["offset"]), (epoch, 10))
                flagged = self.connected().ask(self.recover("kept:never", flag=2, **fields))
                self.assertEqual(flagged["error"]["code"], 112)
        result = self.connected().ask(self.recover("kept:never", epoch=epoch, offset=7))
        self.assertEqual(len(result["subscribe"]["publications"]), 3)

    def test_offsets_that_are_none_close_with_3501(self):
        for offset in ("-1", "1.5", '"1"', "18446744073709551616", "1e3", "true"):
            with self.subTest(offset=offset):
                peer = self.connected()
                command = encode(self.recover("kept:none", epoch="e", offset="@"))
                peer.send(frame(TEXT, command.replace(b'"@"', offset.encode())))
                self.assert_closed(peer, 3501)

    def test_another_delta_closes_with_3501(self):
        peer = self.connected()
        peer.command({"id": 2, "subscribe": {"channel": "kept:delta", "delta": "nosuch"}})
        self.assert_closed(peer, 3501)

    def test_recovery_of_what_keeps_nothing_is_a_plain_subscribe(self):
        answer = self.connected().ask(self.recover("plain", epoch="e", offset=2**64 - 1))
        self.assertIsNot(answer["subscribe"].get("recovered"), True)

    def test_histories_that_never_were(self):
        epoch = self.fill("kept:asked", 10)["epoch"]
        peer = self.connected()
        for number, (fields, code) in enumerate((
            ({"since": {"offset": 1, "epoch": "nosuch"}}, 112),
            ({"since": {"offset": 0, "epoch": epoch}, "reverse": True, "limit": 1}, 107),
            ({"since": {"offset": 2**64 - 1, "epoch": epoch}, "limit": -1}, None),
            ({"since": {"offset": 2**64 - 1, "epoch": epoch}, "limit": 5, "reverse": True}, None),
            ({"limit": 2**31 - 1}, None),
            ({"limit": -(2**31)}, None),
        )):
            with self.subTest(fields=fields):
                command = {"id": number + 2, "history": {"channel": "kept:asked", **fields}}
                answer = peer.ask(command)
                self.assertEqual(answer.get("error", {}).get("code"), code)
                if code is None:
                    self.assertEqual(answer["history"]["offset"], 10)

    def test_thousands_of_unknown_epochs_take_no_memory(self):
        self.fill("kept:storm", 300, MARK * 20)
        peer = self.connected()
        numbers = itertools.count(2)

        def attack():
            for _ in range(1_000):
                epoch = str(next(numbers)) * 2_000
                answer = peer.ask(self.recover("kept:storm", epoch=epoch, offset=1, flag=2))
                self.assertEqual(answer["error"]["code"], 112)

        self.assert_memory_bounded(attack, 6 << 20)

    def test_asking_for_topics_that_are_none_makes_none(self):
        peer = self.connected()

        def ask(method, first):
            for number in range(first, first + 5_000):
                peer.command({"id": 2, method: {"channel": f"kept:{method}{number}"}})
            answers = [peer.message() for _ in range(5_000)]
            self.assertFalse([answer for answer in answers if method not in answer])

        firsts = itertools.count(0, 5_000)
        self.assert_memory_bounded(lambda: ask("history", next(firsts)), 12 << 20)
        answer = self.call("channels", {"pattern": "kept:history*"})[1]
        self.assertEqual(answer, {"result": {"channels": {}}})

    def test_a_regular_expression_takes_no_time_whatever_the_name(self):
        peer = self.connected()
        for number in range(300):
            topic = "pattern:" + "a" * 200 + "!"
            answer = peer.ask({"id": number + 2, "subscribe": {"channel": topic}})
            self.assertEqual(answer["error"]["code"], 107)


class Storms(KeptTestCase):
    def test_five_hundred_recover_at_once_and_all_get_everything(self):
        epoch = self.fill("kept:crowd", 100, MARK * 10)["epoch"]
        crowd = [self.connected() for _ in range(500)]
        for peer in crowd:
            peer.command(self.recover("kept:crowd", epoch=epoch, offset=0))
        for peer in crowd:
            result = peer.message()["subscribe"]
            self.assertTrue(result["recovered"])
            offsets = [publication["offset"] for publication in result["publications"]]
            self.assertEqual(offsets, list(range(1, 101)))

    def test_a_crowd_that_recovers_and_never_reads_holds_an_outbox_each(self):
        epoch = self.fill("kept:deaf", 300, MARK * 40)["epoch"]
        history = {"id": 2, "history": {"channel": "kept:deaf", "limit": -1}}
        crowd = [self.connected(receive_buffer=4_096) for _ in range(200)]
        before = self.broker.memory()
        for peer in crowd:
            peer.command(*[history] * 20)
            # Some are closed by then.
            with contextlib.suppress(OSError):
                peer.command(self.recover("kept:deaf", epoch=epoch, offset=0))
        self.neighbours.check()
        # Eight times an outbox was asked for. The allocator has its share too.
        self.assertLess(self.broker.memory() - before, 200 * (2 << 20))
        for peer in crowd:
            peer.reset()

    def test_who_asks_for_large_histories_and_never_reads_is_refused_and_dropped(self):
        size = 64_000
        self.fill("large:all", 300, "x" * size)
        peer = self.connected(receive_buffer=4_096)
        peer.ask({"id": 2, "subscribe": {"channel": "flood"}})
        before = self.broker.memory()
        command = {"id": 3, "history": {"channel": "large:all", "limit": 300}}
        peer.command(*[command] * 500)
        self.neighbours.check()
        # A few that fit wait for it, the others were refused for now (111). What is published
        # cannot be refused, and it is too much: then it is slow.
        for _ in range(40):
            self.call("publish", {"channel": "flood", "data": "x" * size})
        self.assertLess(self.broker.memory() - before, 48 << 20)
        self.assertIn(self.end_of(peer), (3008, None))

    def test_who_reads_gets_as_much_of_a_large_history_as_an_outbox_holds(self):
        size = 64_000
        self.fill("large:read", 300, "x" * size)
        peer = self.connected()
        since = {"offset": 0, "epoch": ""}
        got = 0
        while got < 300:
            fields = {"channel": "large:read", "limit": 300, "since": since}
            history = peer.ask({"id": 2, "history": fields})["history"]
            offsets = [publication["offset"] for publication in history["publications"]]
            self.assertEqual(offsets, list(range(got + 1, got + len(offsets) + 1)))
            self.assertTrue(offsets)
            self.assertLess(len(offsets) * size, 1 << 20)
            got += len(offsets)
            since = {"offset": got, "epoch": history["epoch"]}

    def test_recovery_larger_than_an_outbox_says_so(self):
        epoch = self.fill("large:recover", 100, "x" * 64_000)["epoch"]
        result = self.connected().ask(self.recover("large:recover", epoch=epoch, offset=0))
        self.assertNotIn("recovered", result["subscribe"])
        self.assertEqual(result["subscribe"]["offset"], 100)

    def test_a_connect_that_wishes_for_everything(self):
        wishes = {f"kept:wish{number}": {"recover": True} for number in range(1_200)}
        peer = self.upgraded()
        peer.command({"id": 1, "connect": {"subs": wishes}})
        self.assert_closed(peer, 3505, "channel limit")
        peer = self.upgraded()
        peer.command({"id": 1, "connect": {"subs": {"nosuch:x": {}}}})
        self.assert_closed(peer, 3501)
        # Those that may not be had are left out, however many there are.
        wishes = {f"kept:{number}\n": {} for number in range(3_000)}
        peer = self.upgraded()
        peer.command({"id": 1, "connect": {"subs": wishes}})
        self.assertNotIn("subs", peer.message()["connect"])
        self.assert_alive(peer)

    def test_a_connect_that_recovers_much_gets_only_what_an_outbox_holds(self):
        wishes = {}
        for number in range(20):
            epoch = self.fill(f"large:connect{number}", 10, "x" * 20_000)["epoch"]
            wishes[f"large:connect{number}"] = {"recover": True, "epoch": epoch, "offset": 0}
        peer = self.upgraded()
        peer.command({"id": 1, "connect": {"subs": wishes}})
        subs = peer.message()["connect"]["subs"]
        self.assertEqual(subs.keys(), wishes.keys())
        recovered = [result for result in subs.values() if result.get("recovered")]
        self.assertEqual(len(recovered), 2)
        for result in subs.values():
            count = 10 if result.get("recovered") else 0
            self.assertEqual(len(result.get("publications", ())), count)

    def test_thousands_of_wishes_take_no_memory(self):
        names = itertools.count()

        def attack():
            for _ in range(100):
                first = next(names) * 1_500
                wishes = {f"kept:w{first + number}": {} for number in range(1_500)}
                peer = self.upgraded()
                peer.command({"id": 1, "connect": {"subs": wishes}})
                self.assertEqual(peer.end()[0], 3505)
                peer.reset()

        self.assert_memory_bounded(attack, 6 << 20)

    def test_who_comes_and_goes_while_recovering_leaves_nothing(self):
        epoch = self.fill("kept:gone", 300, MARK * 10)["epoch"]

        def attack():
            for _ in range(200):
                peer = self.connected()
                wishes = (f"kept:gone{number or ''}" for number in range(50))
                commands = (
                    self.recover(topic, 2 + number, epoch=epoch, offset=0)
                    for number, topic in enumerate(wishes)
                )
                peer.command(*commands)
                peer.reset()
            self.neighbours.check()

        self.assert_memory_bounded(attack, 12 << 20)

    def end_of(self, peer):
        """The close code, or None for an abrupt end, maybe in the middle of a frame."""
        try:
            while True:
                peer.frame()
        except Closed as closed:
            return closed.code


if __name__ == "__main__":
    unittest.main()
