#!/usr/bin/env python3
"""Charts and tables of what `cargo bench --bench engines` measured.

    scripts/charts.py [FOLDER]

Reads results.jsonl and article.jsonl in FOLDER (target/engines), writes the charts into docs/images/, and the tables
into docs/engines.md, each between its two markers. Of several lines about the same thing the last one counts. Needs
Python 3 and nothing else.
"""

import json
import re
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/engines.md"
IMAGES = ROOT / "docs/images"

ENGINES = ["loop", "loops:2", "threads"]
WAYS = ["one at a time", "threads", "loop"]
# Cases whose own work outweighs what an engine can do about it: on a scale of their own.
HEAVY = ["work of 200 µs", "file, executor", "file, in the handler"]

# The article's table 7.2, and what the project set itself against one at a time.
CLAIMS = {
    "HTTP": ("3–5×", 5),
    "WebSocket": ("5–10×", 10),
    "file": ("2–2.5×", 2.5),
}


def read(path, *key):
    """The lines of a file by the values of `key`, in the order in which they first came."""
    lines = {}
    for text in path.read_text().splitlines():
        line = json.loads(text)
        lines[tuple(line[name] for name in key)] = line
    return lines


# ---- Charts -------------------------------------------------------------------------------------------------------

# Okabe and Ito's colours, which eyes that see fewer of them still tell apart; lighter ones on a dark ground. Bars stand
# in the order of the legend and carry their number, so nothing is said by colour alone.
STYLE = """
  .ground { fill: #ffffff } .text { fill: #24292f } .faint { fill: #57606a } .grid { stroke: #d8dee4 }
  .engine-0 { fill: #0072b2 } .engine-1 { fill: #009e73 } .engine-2 { fill: #d55e00 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .text { fill: #e6edf3 } .faint { fill: #9198a1 } .grid { stroke: #30363d }
    .engine-0 { fill: #56b4e9 } .engine-1 { fill: #2dba8c } .engine-2 { fill: #f0854a }
  }
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 13px }
  .title { font-size: 16px; font-weight: 600 } .heading { font-weight: 600 }
  .end { text-anchor: end } .middle { text-anchor: middle }
"""

WIDTH = 860
LABELS = 230  # Names of the groups, left of the bars.
RIGHT = 70  # Room for the number behind the longest bar.
BAR = 13
GAP = 13


class Svg:
    """A drawing that grows downwards."""

    def __init__(self, title, description):
        self.title, self.description = title, description
        self.parts, self.y = [], 0
        self.text(20, 30, title, "text title")
        self.y = 48

    def text(self, x, y, text, kind):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>')

    def legend(self, names):
        x = 20
        for number, name in enumerate(names):
            self.parts.append(
                f'<rect x="{x}" y="{self.y}" width="12" height="12" rx="2" class="engine-{number}"/>'
            )
            self.text(x + 18, self.y + 11, name, "text")
            x += 40 + 8 * len(name)
        self.y += 30

    def bars(self, heading, unit, groups, number):
        """Groups of bars on one scale: `groups` are names with a value for each engine, or None."""
        self.text(20, self.y + 12, heading, "text heading")
        top = self.y + 26
        most = max(value for _, values in groups for value in values if value is not None)
        step = nice_step(most)
        right = WIDTH - RIGHT
        scale = (right - LABELS) / most
        bottom = top + sum(BAR * len(values) + GAP for _, values in groups)
        tick = 0
        while tick <= most:
            x = LABELS + tick * scale
            self.parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" class="grid"/>')
            self.text(x, bottom + 17, f"{tick:g}", "faint middle")
            tick = round(tick + step, 6)
        self.text((LABELS + right) / 2, bottom + 35, unit, "faint middle")
        y = top + GAP / 2
        for name, values in groups:
            self.text(LABELS - 10, y + BAR * len(values) / 2 + 4.5, name, "text end")
            for engine, value in enumerate(values):
                if value is not None:
                    width = max(value * scale, 1)
                    size = f'width="{width:.1f}" height="{BAR - 2}"'
                    self.parts.append(f'<rect x="{LABELS}" y="{y:.1f}" {size} class="engine-{engine}"/>')
                    self.text(LABELS + width + 5, y + BAR - 3, number(value), "text")
                y += BAR
            y += GAP
        self.y = bottom + 56

    def write(self, path):
        body = "\n".join(self.parts)
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.y}" width="{WIDTH}" height="{self.y}" '
            f'role="img" aria-labelledby="title description">\n'
            f'<title id="title">{escape(self.title)}</title>\n'
            f'<desc id="description">{escape(self.description)}</desc>\n'
            f"<style>{STYLE}</style>\n"
            f'<rect class="ground" width="100%" height="100%"/>\n{body}\n</svg>\n'
        )
        print(path.relative_to(ROOT))


def nice_step(most):
    """A round distance between grid lines, of which there are four to nine."""
    size = 10.0
    while size > most:
        size /= 10
    while size * 10 <= most:
        size *= 10
    return next(size * share for share in (2, 1, 0.5, 0.2) if most / (size * share) >= 4)


def case_name(case, connections):
    return f"{case}, {connections:,} conn."


def values(results, case, field):
    lines = [results.get((*case, engine)) for engine in ENGINES]
    return [field(line) if line else None for line in lines]


def memory_mib(line):
    return line["rss_kib"] / 1024


def switches(line):
    return line["voluntary"] + line["involuntary"]


CPU_UNIT = "µs of CPU, user and system, an operation (less is better)"

# For the README: one picture, with the case that threads win in it.
SUMMARY = [("plaintext", 1), ("plaintext", 64), ("timer of 10 ms", 256), ("WebSocket echo", 64), ("room", 1000)]


def draw(results):
    cases = dict.fromkeys(key[:2] for key in results)
    cpu = Svg("Server CPU for each operation", "Bars: CPU time of the server's process, by case and engine.")
    cpu.legend(ENGINES)

    def group(field, chosen):
        return [(case_name(*case), values(results, case, field)) for case in chosen]

    light = [case for case in cases if case[0] not in HEAVY]
    heavy = [case for case in cases if case[0] in HEAVY]
    for heading, chosen in [("Little to do in the handler", light), ("Work in the handler", heavy)]:
        if chosen:
            groups = group(lambda line: line["cpu_us"], chosen)
            cpu.bars(heading, CPU_UNIT, groups, lambda v: f"{v:.1f}")
    cpu.write(IMAGES / "engines-cpu.svg")

    cost = Svg("What connections cost", "Bars: memory and context switches of the server's process, by engine.")
    cost.legend(ENGINES)
    memory = [case for case in cases if case[0] in ("plaintext", "mostly idle") and case[1] > 1]
    if memory:
        groups = [(f"{case[1]:,} connections", values(results, case, memory_mib)) for case in memory]
        cost.bars("Memory", "MiB of resident memory (less is better)", groups, lambda v: f"{v:.1f}")
    counted = [case for case in cases if case[0] not in HEAVY]
    if counted:
        groups = group(switches, counted)
        cost.bars("Context switches", "context switches an operation (less is better)", groups, lambda v: f"{v:.2f}")
    cost.write(IMAGES / "engines-memory.svg")

    summary = Svg("One app, three engines", "Bars: the server's CPU time for some cases, and its memory, by engine.")
    summary.legend(ENGINES)
    groups = group(lambda line: line["cpu_us"], [case for case in SUMMARY if case in cases])
    summary.bars("CPU", CPU_UNIT, groups, lambda v: f"{v:.1f}")
    groups = [("5,000 idle connections", values(results, case, memory_mib)) for case in memory if case[1] == 5000]
    if groups:
        summary.bars("Memory", "MiB of resident memory (less is better)", groups, lambda v: f"{v:.1f}")
    summary.write(IMAGES / "engines.svg")


# ---- Tables -------------------------------------------------------------------------------------------------------


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)] + rows
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(values, form):
    return ["–" if value is None else format(value, form) for value in values]


def ratio(values, form="{:.1f}×"):
    loop, threads = values[0], values[-1]
    return form.format(threads / loop) if loop and threads is not None else "–"


def machine_of(lines):
    return "Machine: " + "; ".join(dict.fromkeys(line["machine"] for line in lines.values())) + "."


def cpu_table(results):
    rows = []
    for case in dict.fromkeys(key[:2] for key in results):
        cpu = values(results, case, lambda line: line["cpu_us"])
        wall = values(results, case, lambda line: line["wall_us"])
        rows.append([case_name(*case), *shown(cpu, ".1f"), ratio(cpu), *shown(wall, ".1f")])
    head = ["CPU and wall clock, µs", *(f"CPU {e}" for e in ENGINES), "threads ÷ loop", *(f"wall {e}" for e in ENGINES)]
    return machine_of(results) + "\n\n" + table(head, rows)


def calls_table(results):
    rows = []
    for case in dict.fromkeys(key[:2] for key in results):
        counts = values(results, case, lambda line: f"{line['voluntary']:.2f} + {line['involuntary']:.2f}")
        calls = values(results, case, lambda line: line["syscalls"])
        rows.append([case_name(*case), *shown(counts, ""), *shown(calls, ".2f")])
    head = ["each operation", *(f"switches {e}" for e in ENGINES), *(f"system calls {e}" for e in ENGINES)]
    return table(head, rows)


def memory_table(results):
    rows = []
    for case in dict.fromkeys(key[:2] for key in results):
        if case[0] in ("plaintext", "room", "mostly idle") and case[1] > 1:
            rss = values(results, case, memory_mib)
            each = values(results, case, lambda line: (line["rss_kib"] - line["rss_start_kib"]) / case[1])
            threads = values(results, case, lambda line: line["threads"])
            rows.append([case_name(*case), *shown(rss, ".1f"), *shown(each, ".2f"), *shown(threads, ",")])
    head = ["", *(f"MiB {e}" for e in ENGINES), *(f"KiB a connection {e}" for e in ENGINES)]
    return table(head + [f"threads {e}" for e in ENGINES], rows)


def idle_table(results):
    case = next((key[:2] for key, line in results.items() if line["idle"]), None)
    if not case:
        return ""
    seconds = next(line["idle"]["seconds"] for line in results.values() if line["idle"])
    return table(
        [f"{case[1]:,} connections, silent for {seconds:g} s", *ENGINES],
        [
            ["context switches", *shown(values(results, case, lambda line: line["idle"]["switches"]), ",")],
            ["CPU, ms", *shown(values(results, case, lambda line: line["idle"]["cpu_us"] / 1000), ".1f")],
        ],
    )


def kind_of(scenario):
    return next(name for name in CLAIMS if scenario.startswith(name))


def article_table(article):
    rows, costs = [], []
    for scenario in dict.fromkeys(key[0] for key in article):
        lines = [article[scenario, way] for way in WAYS]
        wall = [line["wall_ms"] for line in lines]
        speed = [f"{wall[0] / other:.1f}×" for other in wall[1:]]
        claim, _ = CLAIMS[kind_of(scenario)]
        rows.append([scenario, claim, *shown(wall, ",.1f"), *speed])
        costs.append(
            [
                scenario,
                *shown([line["cpu_us"] for line in lines], ".0f"),
                *shown([line["switches"] for line in lines], ".2f"),
                *shown([line["peak_kib"] / 1024 for line in lines], ".1f"),
            ]
        )
    head = ["time, ms", "the article", *WAYS, *(f"speed-up, {way}" for way in WAYS[1:])]
    head_of_costs = ["the server's costs"]
    for what in ["CPU µs", "switches", "peak MiB"]:
        head_of_costs += [f"{what}, {way}" for way in WAYS]
    return machine_of(article) + "\n\n" + table(head, rows) + "\n\n" + table(head_of_costs, costs)


def aims_table(results, article):
    rows = []
    for scenario in dict.fromkeys(key[0] for key in article):
        _, aim = CLAIMS[kind_of(scenario)]
        speed = article[scenario, WAYS[0]]["wall_ms"] / article[scenario, "loop"]["wall_ms"]
        what = f"{scenario}: faster than one at a time"
        rows.append([what, f"{aim:g}× or more", f"{speed:.1f}×", verdict(speed >= aim)])
    for case in dict.fromkeys(key[:2] for key in results):
        loop, threads = results.get((*case, "loop")), results.get((*case, "threads"))
        if not (loop and threads):
            continue
        if case[0] == "mostly idle":
            share = loop["rss_kib"] / threads["rss_kib"]
            what = f"memory of {case[1]:,} idle connections, of what threads need"
            rows.append([what, "1/20 or less", f"1/{1 / share:.0f}", verdict(share <= 1 / 20)])
        share = switches(loop) / switches(threads)
        what = f"context switches, {case_name(*case)}, of those with threads"
        value = f"1/{1 / share:,.1f}" if share > 0 else "none"
        rows.append([what, "1/4 or less", value, verdict(share <= 1 / 4)])
    return table(["the loop", "aim", "measured", ""], rows)


def verdict(holds):
    return "holds" if holds else "**does not hold**"


def paste(document, name, text):
    """Put `text` between the markers `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    pasted, count = pattern.subn(lambda _: f"{begin}\n\n{text}\n\n{end}", document)
    if count != 1:
        sys.exit(f"{DOCUMENT}: {count} places for {name}")
    return pasted


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "target/engines"
    try:
        results = read(folder / "results.jsonl", "case", "connections", "engine")
        article = read(folder / "article.jsonl", "scenario", "way")
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is not there: cargo bench --bench engines, and again with -- --article")
    draw(results)
    document = DOCUMENT.read_text()
    document = paste(document, "cpu", cpu_table(results))
    document = paste(document, "calls", calls_table(results))
    document = paste(document, "memory", memory_table(results) + "\n\n" + idle_table(results))
    document = paste(document, "article", article_table(article))
    document = paste(document, "aims", aims_table(results, article))
    DOCUMENT.write_text(document)
    print(DOCUMENT.relative_to(ROOT))


main()
