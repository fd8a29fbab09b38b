"""What the parsers of Prometheus' own client library make of /metrics."""
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import checks

OPENMETRICS = "application/openmetrics-text"


def get(path, accept="text/plain"):
    request = urllib.request.Request(checks.HTTP + path, headers={"Accept": accept})
    with urllib.request.urlopen(request) as response:
        return response.headers["Content-Type"], response.read().decode()


def families(accept, parse):
    content_type, text = get("/metrics", accept)
    assert content_type.startswith(accept), content_type
    found = list(parse(text))
    names = [family.name for family in found]
    assert len(names) == len(set(names)), names
    return {family.name: family for family in found}


def value(family, suffix="", **labels):
    found = [
        sample.value
        for sample in family.samples
        if sample.name == family.name + suffix and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (family.name, labels, found)
    return found[0]


def look(accept, parse):
    before = families(accept, parse)
    for _ in range(10):
        get("/plaintext")
    after = families(accept, parse)

    def grew(name, suffix="_total", **labels):
        return value(after[name], suffix, **labels) - value(before[name], suffix, **labels)

    # Ten, and the scrape before.
    assert grew("tourbillon_server_requests", loop="0") == 11
    assert grew("tourbillon_loop_turns", loop="0") > 0
    durations = after["tourbillon_http_request_duration_seconds"]
    assert durations.type == "histogram", durations
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for sample in durations.samples
        if sample.name.endswith("_bucket") and sample.labels["route"] == "/plaintext"
    ]
    assert buckets == sorted(buckets) and buckets[-1][0] == float("inf"), buckets
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    count = value(durations, "_count", route="/plaintext", method="GET")
    assert buckets[-1][1] == count >= 10
    answers = after["tourbillon_http_answers"]
    assert value(answers, "_total", route="/plaintext", status="2xx") == count
    assert value(after["tourbillon_http_requests_in_flight"], route="/metrics") == 1
    assert value(after["process_open_fds"]) >= 3
    assert value(after["process_resident_memory_bytes"]) > 1_000_000
    assert value(after["tourbillon_loop_up"], loop="0") == 1
    for family in after.values():
        assert family.documentation, family.name


async def check_the_text_format_is_understood():
    look("text/plain", parse_text)


async def check_openmetrics_is_understood():
    look(OPENMETRICS, parse_openmetrics)


if __name__ == "__main__":
    checks.run(globals())
