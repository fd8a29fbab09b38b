"""Runs the suite's fuzzing client against a server, or its fuzzing server for a client, and counts what it reports. See
autobahn.sh."""
import argparse
import collections
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.path.join(HERE, "..", "..", "target", "autobahn")

# Larger than 1 MiB, and most of the 216 ways to compress.
SLOW = [
    *("9.1.4 9.1.5 9.1.6 9.2.4 9.2.5 9.2.6 9.3.1 9.3.2 9.4.1 9.4.2 9.5.1 9.5.2 9.6.1 9.6.2".split()),
    *(f"12.{i}.{j}" for i in range(1, 6) for j in range(1, 19) if j not in (1, 5, 11) or i not in (1, 2)),
    *(f"13.{i}.{j}" for i in range(1, 8) for j in range(1, 19) if j not in (1, 4, 12)),
]
SECTIONS = {
    1: "framing", 2: "pings and pongs", 3: "reserved bits", 4: "opcodes", 5: "fragments", 6: "UTF-8", 7: "close",
    9: "limits", 10: "miscellaneous", 12: "compression", 13: "its parameters",
}
AGENT = "tourbillon"
BEHAVIOURS = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"]
BAD_CLOSES = ("FAILED", "UNCLEAN", "WRONG CODE", "FAILED BY CLIENT")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?", help="an echo server on this machine")
    parser.add_argument("--client", help="a command with {url} in it, which sends back what it gets there")
    parser.add_argument("--quick", action="store_true", help="leave out the slowest cases")
    parser.add_argument("--cases", default="*", help="patterns, with commas between them")
    parser.add_argument("--exclude", default="", help="patterns, with commas between them")
    parser.add_argument("--out", default=os.path.join(WORK, "report"), help="where the reports go")
    parser.add_argument("--timeout", type=int, default=7200, help="for all cases together, in seconds")
    parser.add_argument("--allow-unimplemented", action="store_true")
    given = parser.parse_args()
    if bool(given.url) == bool(given.client):
        parser.error("a server's URL, or --client")
    if given.url and not re.match(r"ws://(127\.0\.0\.1|localhost|\[::1\])[:/]", given.url):
        parser.error("a fuzzer is for servers of one's own: ws://127.0.0.1:PORT/PATH")
    return given


def run(given):
    """Returns the seconds it took, or None when it did not end in time."""
    shutil.rmtree(given.out, ignore_errors=True)
    os.makedirs(given.out)
    port = free_port()
    spec = {
        "outdir": given.out,
        "cases": given.cases.split(","),
        "exclude-cases": [case for case in given.exclude.split(",") if case] + (SLOW if given.quick else []),
        "exclude-agent-cases": {},
    }
    spec |= {"url": f"ws://127.0.0.1:{port}"} if given.client else {"servers": [{"agent": AGENT, "url": given.url}]}
    file = os.path.join(given.out, "spec.json")
    with open(file, "w") as out:
        json.dump(spec, out)
    began = time.monotonic()
    with open(os.path.join(given.out, "log.txt"), "w") as log:
        suite = [sys.executable, "-W", "ignore", os.path.join(HERE, "wstest3.py")]
        try:
            if given.client:
                run_client(given, [*suite, "fuzzingserver", file], port, log)
            else:
                subprocess.run([*suite, "fuzzingclient", file], stdout=log, stderr=log, timeout=given.timeout)
        except subprocess.TimeoutExpired:
            return None
    return time.monotonic() - began


def run_client(given, suite, port, log):
    """Has the client run once for each case, against the suite's server."""
    until = time.monotonic() + given.timeout
    server = subprocess.Popen(suite, stdout=log, stderr=log)
    try:
        count = int(told(port, "/getCaseCount"))
        for case in range(1, count + 1):
            url = f"ws://127.0.0.1:{port}/runCase?case={case}&agent={AGENT}"
            command = [word.replace("{url}", url) for word in shlex.split(given.client)]
            subprocess.run(command, stdout=log, stderr=log, timeout=max(until - time.monotonic(), 0.1))
        told(port, f"/updateReports?agent={AGENT}")
        index = os.path.join(given.out, "index.json")
        while not os.path.exists(index) and time.monotonic() < until:
            time.sleep(0.1)
        # It is written at once, and not all at once.
        time.sleep(1)
    finally:
        server.terminate()
        server.wait()


def told(port, path):
    """The text message that the suite's server sends to those who ask for this path; nothing, if it just closes."""
    with connect(port) as stream:
        stream.sendall((f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Version: 13\r\n\r\n").encode())
        file = stream.makefile("rb")
        while file.readline().strip():
            pass
        first, length = file.read(2)
        return file.read(length).decode() if first == 0x81 else ""


def connect(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), 20)
        except ConnectionRefusedError:
            time.sleep(0.1)
    sys.exit("the suite's server does not listen")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def report(given, seconds):
    """Prints a line a section and one for each case that is not as it should be. Returns the exit code."""
    with open(os.path.join(given.out, "log.txt"), errors="replace") as file:
        log = file.read()
    index = os.path.join(given.out, "index.json")
    if seconds is None or not os.path.exists(index):
        print(log[-2000:])
        print("the suite wrote no report" if seconds else f"the suite did not end within {given.timeout} s")
        return 2
    with open(index) as file:
        cases = json.load(file)[AGENT]

    sections, remarkable = collections.defaultdict(collections.Counter), []
    for case in sorted(cases, key=lambda case: [int(number) for number in case.split(".")]):
        behaviour, close = cases[case]["behavior"], cases[case]["behaviorClose"]
        counted = behaviour if behaviour in BEHAVIOURS else "FAILED"
        section = sections[int(case.split(".")[0])]
        section[counted] += 1
        section["seconds"] += cases[case]["duration"] / 1000
        if close in BAD_CLOSES:
            section["bad close"] += 1
        if counted in ("NON-STRICT", "FAILED") or close in BAD_CLOSES:
            remarkable.append(f"  {case}: {behaviour}; close: {close}, code {cases[case]['remoteCloseCode']}")

    columns = [*BEHAVIOURS, "bad close"]
    print(f"{'section':20}" + "".join(f"{column:>15}" for column in columns) + f"{'seconds':>9}")
    total = collections.Counter()
    for number, section in sections.items():
        total.update(section)
        print_row(f"{number} {SECTIONS.get(number, '')}", section, columns)
    print_row("all", total, columns)
    print("\n".join([*remarkable, f"{len(cases)} cases in {seconds:.0f} s"]))

    if errors := log.count("Unhandled Error"):
        print(f"the suite itself raised {errors} errors, see {given.out}/log.txt: its results cannot be trusted")
        return 2
    if not cases:
        print("no case ran")
        return 2
    failed = total["FAILED"] + total["bad close"] + (0 if given.allow_unimplemented else total["UNIMPLEMENTED"])
    return 1 if failed else 0


def print_row(name, counts, columns):
    print(f"{name:20}" + "".join(f"{counts[column]:15}" for column in columns) + f"{counts['seconds']:9.1f}")


if __name__ == "__main__":
    given = arguments()
    given.out = os.path.abspath(given.out)
    sys.exit(report(given, run(given)))
