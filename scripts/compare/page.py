"""Writes what scripts/compare.sh has measured into a Markdown page.

    page.py RESULTS BENCH PAGE

RESULTS holds SCENARIO.SERVER.ROUND.json and floor.json as `fanwire-bench` writes them, and what
compare.sh notes: `skipped`, `busy`, `elapsed` (seconds), `rest.SERVER` (percent of a core). Only
what stands between the two markers of PAGE is replaced. Plots come out of `BENCH compare --svg`,
as files in a folder named like PAGE.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from goals import floor_part, goals_section
from results import NAMES, Runs, spread, table

BEGIN = "<!-- measured: scripts/compare.sh writes what follows -->"
END = "<!-- measured: end -->"
INTRODUCTION = """# Benchmarks

What Fanwire costs beside the least that the kernel asks for, and beside other servers, in one run
on one machine. Absolute times depend on the machine; the ratios are the result.

"""
# Packages that are not named like their servers.
PACKAGES = {
    "uwebsockets": "socketify",
    "nats": "nats-server",
    "nchan": "libnginx-mod-nchan",
    "socketio": "socket.io",
}
PEERS = Path(__file__).resolve().parents[2] / "bench" / "peers"


def version(server, outcome):
    """As the server told it, or else that of its package."""
    if outcome["server"]["version"]:
        return outcome["server"]["version"]
    pinned = json.loads((PEERS / "package.json").read_text())["dependencies"]
    for line in (PEERS / "requirements.txt").read_text().splitlines():
        name, exact = line.split("==")
        pinned[name] = exact
    package = PACKAGES.get(server, server)
    return f"{package} {pinned.get(package) or debian_version(package)}"


def debian_version(package):
    """The installed one, or else the one that would be, which was unpacked."""
    query = ["apt-cache", "policy", package]
    policy = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    found = re.findall(r"(?:Installed|Candidate): (\S+)", policy)
    return next((each for each in found if each != "(none)"), "of unknown version")


def fanout_section(runs):
    """CPU and latency at the same rate for all."""
    rows = []
    for server in runs.servers():
        rows.append([
            NAMES[server],
            version(server, runs.first(server)),
            spread(runs.values(server, "CPU per delivery"), "{:.2f}"),
            spread(runs.ratios(server, "CPU per delivery"), "{:.2f}"),
            spread(runs.values(server, "latency p50"), "{:.1f}", 1e-3),
            spread(runs.values(server, "latency p99"), "{:.1f}", 1e-3),
            runs.remarks(server),
        ])
    heads = ["server", "version", "CPU per delivery, µs", "× Fanwire's", "p50, ms", "p99, ms"]
    return table([*heads, "remarks"], rows) + (
        "\nWho is late has several messages waiting for each subscriber and may send them "
        "together, which is cheaper: compare the cost of servers with a like p50. NATS is measured "
        "with its own protocol over TCP, which spares it the framing of WebSocket.\n"
    )


def idle_section(runs):
    """What a connection costs at which nothing happens."""
    rows = [
        [
            NAMES[server],
            spread(runs.values(server, "RSS per connection"), "{:,.0f}"),
            spread(runs.values(server, "server CPU"), "{:.1f}"),
            runs.remarks(server),
        ]
        for server in runs.servers()
    ]
    return table(["server", "B per connection", "CPU, %", "remarks"], rows)


def knee_section(runs):
    """How far each server came, and what it cost there."""
    rows = []
    for server in runs.servers():
        knee = spread(runs.values(server, "knee"), "{:,.0f}")
        # Where the generator was the bottleneck nobody knows how far it would have come.
        rows.append([
            NAMES[server],
            f"≥ {knee}" if runs.is_saturated(server) else knee,
            spread(runs.ratios(server, "knee"), "{:.2f}"),
            spread(runs.values(server, "CPU per delivery"), "{:.2f}"),
            runs.remarks(server),
        ])
    heads = ["server", "deliveries per second", "× Fanwire's", "CPU per delivery there, µs"]
    return table([*heads, "remarks"], rows) + (
        "\nOne search each, in steps that close in to some 8 %. ≥ means that the generator, not "
        "the server, was at its limit: such ratios are bounds. A step takes 1.5 seconds; an "
        "overload of 2 to 3 % does not show in so short a time.\n"
    )


def time(microseconds):
    """In a unit that is easily read."""
    if microseconds < 100:
        return f"{microseconds:.2f} µs"
    return f"{microseconds / 1000:.2f} ms"


def floor_section(floor):
    """Fanwire beside the bare loops."""
    rows = []
    for figure in floor["figures"]:
        if figure.get("phase") is not None:
            continue
        name = figure["name"]
        part = {
            phase: floor_part(floor, name, phase)
            for phase in ("lowest ratio", "highest ratio", "bare loop", "measured", "load reached",
                          "generator CPU", "publisher lag p99")
        }
        rows.append([
            name,
            time(part["bare loop"]),
            time(part["measured"]),
            f"{figure['value']:.2f} ({part['lowest ratio']:.2f}–{part['highest ratio']:.2f})",
            f"{part['load reached']:,.0f}",
            f"{part['generator CPU']:.0f}",
            time(part["publisher lag p99"]),
        ])
    heads = ["what", "bare loop", "measured", "ratio (range)", "load reached, /s"]
    text = table([*heads, "generator CPU, %", "its lag p99"], rows)
    doubts = floor["faults"] + floor["saturation"]["reasons"]
    return text + "".join(["\n"] + [f"* {doubt}\n" for doubt in doubts] if doubts else [])


def machine_section(outcome):
    """Where, when, with what."""
    machine, tool = outcome["machine"], outcome["tool"]
    dirty = " with local changes" if tool["is_dirty"] else ""
    memory = machine["memory_bytes"] / (1 << 30)
    virtual = ", virtual" if machine.get("virtual_by") else ""
    return (
        f"{outcome['started'][:10]}, {machine['processor']}{virtual}, {machine['cores']} cores, "
        f"{memory:.0f} GiB, {machine['kernel']}; commit {tool['commit'][:12]}{dirty}.\n"
    )


def command(outcome):
    """What was run, without the paths of this machine."""
    words = iter(outcome["command"][1:])
    kept = []
    for word in words:
        if word in ("--json-file", "--server-pid", "--label"):
            next(words, None)
        else:
            kept.append(word)
    return " ".join(["fanwire-bench", *kept])


def plots(folder, bench, page):
    """The plots of `compare`, of the typical round of each server."""
    files = [str(path) for path in sorted(folder.glob("fanout.*.json"))]
    place = page.with_suffix("")
    for old in place.glob("fanout-*.svg"):
        old.unlink()
    done = subprocess.run(
        [bench, "compare", *files, "--svg", str(place)], capture_output=True, text=True, check=False
    )
    drawn = sorted(place.glob("fanout-*.svg"))
    if done.returncode != 0 or not drawn:
        sys.exit(f"no plots: {done.stderr.strip()}")
    titles = [path.stem.removeprefix("fanout-").replace("-", " ") for path in drawn]
    links = zip(titles, drawn)
    return "\n".join(f"![{title}]({place.name}/{path.name})\n" for title, path in links)


FOR_GOOD = """* Centrifugo: Debian, npm and PyPI do not have it. Whoever has it measures it with
  `fanwire-bench … --protocol centrifugo --url … --api-key …`.
* Redis pub/sub: the generator does not speak its protocol, and browsers do not either.
"""


def sections(folder, bench, page):
    """The whole measured part."""
    fanout, idle, sweep = (Runs(folder, name) for name in ("fanout", "idle", "sweep"))
    skipped = (folder / "skipped").read_text().splitlines()
    floor = folder / "floor.json"
    outcomes = [one for rounds in fanout.by_server.values() for one in rounds.values()]
    if not outcomes:
        sys.exit("nothing was measured")
    yield machine_section(outcomes[0])
    elapsed = int((folder / "elapsed").read_text())
    yield (
        f"Made by `scripts/compare.sh` in {elapsed // 60} min {elapsed % 60} s, builds and "
        "downloads not counted. Fan-out and floor: median of the rounds, and their range; rounds "
        "with a generator at its limit count only where there are no others. All else was "
        "measured once.\n"
    )
    busy = int((folder / "busy").read_text())
    if busy > 0:
        yield (
            f"**The machine was not at rest: {busy} % of the looks before the run found other "
            "processes that wanted a core.** These figures are no measurement.\n"
        )
    if "fanwire" in fanout.by_server:
        yield "## The goals\n"
        yield goals_section(folder, fanout, idle, sweep)
    if floor.is_file():
        yield "## Beside the bare loops (`fanwire-bench floor`)\n"
        yield floor_section(json.loads(floor.read_text()))
    yield "## Fan-out: 1 topic × 1,000 subscribers × 128 B, 50 messages/s\n"
    yield fanout_section(fanout)
    yield f"The generator's command for the first of them:\n\n    {command(outcomes[0])}\n"
    yield plots(folder, bench, page)
    if sweep.by_server:
        yield "## Highest fan-out rate with nothing lost and p99 < 100 ms\n"
        yield knee_section(sweep)
    if idle.by_server:
        count = idle.first(idle.servers()[0])["parameters"]["connections"]
        yield f"## {count:,} idle connections\n"
        yield idle_section(idle)
    yield "## Left out\n"
    yield "".join(f"* {line}\n" for line in dict.fromkeys(skipped)) + FOR_GOOD


def main():
    """Replaces the measured part of the page, or makes one."""
    folder, bench, page = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    page.parent.mkdir(parents=True, exist_ok=True)
    old = page.read_text() if page.is_file() else INTRODUCTION + f"{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    after = rest.partition(END)[2]
    measured = "\n".join(part for part in sections(folder, bench, page) if part)
    page.write_text(f"{before}{BEGIN}\n\n{measured}\n{END}{after}")


main()
