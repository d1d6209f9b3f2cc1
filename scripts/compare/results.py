"""What scripts/compare.sh has measured, as its page asks for it."""

import json
import sys
from statistics import median

NAMES = {
    "fanwire": "**Fanwire**",
    "uwebsockets": "uWebSockets",
    "nats": "NATS (TCP)",
    "mosquitto": "Mosquitto (MQTT)",
    "nchan": "nginx with nchan",
    "ws": "Node `ws`",
    "socketio": "Socket.IO",
    "websockets": "Python `websockets`",
}
# Heads of columns with text.
TEXTS = ("what", "server", "version", "remarks", "goal", "measured", "met")


class Runs:
    """The outcomes of one scenario, by server and round."""

    def __init__(self, folder, scenario):
        self.folder = folder
        self.by_server = {}
        for path in sorted(folder.glob(f"{scenario}.*.json")):
            _, server, number, _ = path.name.split(".")
            outcome = json.loads(path.read_text())
            self.by_server.setdefault(server, {})[int(number)] = outcome

    def servers(self):
        """Those measured, in the order of NAMES."""
        return [server for server in NAMES if server in self.by_server]

    def first(self, server="fanwire"):
        """Any outcome of it, or None."""
        return next(iter(self.by_server.get(server, {}).values()), None)

    def counting(self, server):
        """The runs whose figures count: without faults, and where there are such, without a
        generator at its limit."""
        rounds = self.by_server.get(server, {}).items()
        clean = {number: one for number, one in rounds if one["is_clean"]}
        sound = {n: one for n, one in clean.items() if not one["saturation"]["is_saturated"]}
        return sound or clean

    def values(self, server, name):
        """A figure by round, of the runs that count."""
        return {n: value_of(one, name) for n, one in self.counting(server).items()}

    def ratios(self, server, name, to="fanwire"):
        """To another's figure of the same round: what the machine did to one, it did to both."""
        own, others = self.values(server, name), self.values(to, name)
        return [own[n] / others[n] for n in own if others.get(n)]

    def is_saturated(self, server):
        """Whether the generator was at its limit in what counts."""
        runs = self.counting(server).values()
        return any(one["saturation"]["is_saturated"] for one in runs)

    def remarks(self, server):
        """What was wrong, and what makes its figures another's, once each."""
        remarks = []
        for outcome in self.by_server[server].values():
            remarks += [f"a run not counted: {fault}" for fault in outcome["faults"]]
        if self.is_saturated(server):
            remarks.append("the generator was at its limit")
        rest = self.folder / f"rest.{server}"
        if rest.is_file() and int(rest.read_text()) > 5:
            remarks.append(f"uses {int(rest.read_text())} % of a core with nothing to do")
        return "; ".join(dict.fromkeys(remarks)) or "–"


def value_of(outcome, name):
    """A figure; a page without it would be silently wrong."""
    for figure in outcome["figures"]:
        if is_named(figure, name):
            return figure["value"]
    sys.exit(f"a result of {outcome['scenario']} has no figure named {name}")


def is_named(figure, name):
    """Whether it is the figure of that name, of the measured part."""
    return figure["name"] == name and figure.get("phase") is None


def table(heads, rows):
    """A Markdown table; numbers are to the right."""
    rules = ["---" if head in TEXTS else "---:" for head in heads]
    lines = ["| " + " | ".join(heads) + " |", "|" + "|".join(rules) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def spread(values, form, factor=1.0):
    """Median, and the range if it is one."""
    if not values:
        return "–"
    values = [value * factor for value in getattr(values, "values", lambda: values)()]
    shown = [form.format(value) for value in (median(values), min(values), max(values))]
    return shown[0] if shown[1] == shown[2] else f"{shown[0]} ({shown[1]}–{shown[2]})"
