#!/usr/bin/env python3
"""Says whether the dashboards and alerts ask for what the program has.

Fails when a query names a metric that /metrics doesn't export, or a label that the metric doesn't have;
when an alert has no entry among the instructions; and, with --prometheus, when a query is wrong or gives
nothing. It changes nothing, and asks only the addresses that it is given.

    infra/grafana/check.py --metrics http://127.0.0.1:8080/metrics [--prometheus http://127.0.0.1:9090]

Give --metrics once for each process, or for one process with all roles. Needs PyYAML.
"""

import argparse
import json
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "infra/grafana/dashboards"
ALERTS = ROOT / "infra/prometheus/alerts.yml"
INSTRUCTIONS = "docs/operations/alerts.md"
SOURCES = ["crates", "producers", "processors", "consumers"]

# What isn't exported before the first event of its kind, which a healthy process may never have.
# Their names are looked for in the source instead.
RARE = {
    "stepstream_alarms_total",
    "stepstream_archive_retries_total",
    "stepstream_archive_unreadable_total",
    "stepstream_follow_other_tenant_total",
    "stepstream_follow_reopened_total",
    "stepstream_follow_unreadable_total",
    "stepstream_gateway_abandoned_total",
    "stepstream_gateway_diverged_total",
    "stepstream_gateway_from_store_total",
    "stepstream_inference_refusals_total",
    "stepstream_kafka_deltas_dropped_total",
    "stepstream_model_calls_waiting",
    "stepstream_model_cooldowns_total",
    "stepstream_model_failed_tries_total",
    "stepstream_model_fallbacks_total",
    "stepstream_push_coalesced_total",
    "stepstream_push_lagged_total",
}
# Made by Prometheus itself, and the labels that it adds to everything that it reads.
OWN_METRICS = {"up"}
OWN_LABELS = {"instance", "job"}

GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*\{([^}]*)\}")
NAME = re.compile(r"(?<![\w.:])[A-Za-z_:][\w:]*(?!\s*\()(?![\w:])")
WORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan", "by", "without", "on", "ignoring"}


def parts(query):
    """The metrics that a PromQL query names, the labels that it selects by, and those it groups by."""
    query = re.sub(r'"(?:[^"\\]|\\.)*"', '""', query)
    if found := re.fullmatch(r"\s*label_values\((.+),\s*(\w+)\)\s*", query):
        query, grouped = found[1], {found[2]}
    else:
        grouped = set()
    for labels in GROUPING.findall(query):
        grouped |= {label.strip() for label in labels.split(",") if label.strip()}
    query = GROUPING.sub(" ", query)
    selected = {}
    for name, matchers in SELECTOR.findall(query):
        selected.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
    query = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", query)
    names = {name for name in NAME.findall(query) if name not in WORDS}
    return names, selected, grouped


def exported(text):
    """The names of all samples in Prometheus' text format, each with its labels."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels = re.match(r"([A-Za-z_:][\w:]*)(\{.*\})?", line).groups()
            labels = re.sub(r'"(?:[^"\\]|\\.)*"', "", labels or "")
            found.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    return found


def queries():
    """Every query, with the place where it stands."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for variable in board["templating"]["list"]:
            yield f"{path.name}: variable {variable['name']}", variable["definition"]
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.name}: panel '{panel['title']}' {target['refId']}", target["expr"]
    for rule in rules():
        yield f"{ALERTS.name}: {rule['alert']}", rule["expr"]


def rules():
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


def check_names(have):
    source = "\n".join(
        path.read_text(encoding="utf-8") for folder in SOURCES for path in (ROOT / folder).rglob("*.rs")
    )
    for place, query in queries():
        names, selected, grouped = parts(query)
        for name in sorted(names - OWN_METRICS):
            if name in have:
                for label in sorted(selected.get(name, set()) - have[name] - OWN_LABELS):
                    yield f"{place}: {name} has no label {label}"
            elif name not in RARE:
                yield f"{place}: no process exports {name}"
            elif f'"{name}"' not in source:
                yield f"{place}: no source names {name}"
        known = OWN_LABELS.union(*(have.get(name, set()) for name in names))
        # What a rare counter has for labels can't be seen.
        if not names & RARE:
            for label in sorted(grouped - known):
                yield f"{place}: none of {', '.join(sorted(names))} has a label {label}"


def check_instructions():
    text = (ROOT / INSTRUCTIONS).read_text(encoding="utf-8")
    headings = set(re.findall(r"^#+ (\w+)$", text, re.MULTILINE))
    names = {rule["alert"] for rule in rules()}
    for rule in rules():
        if rule["annotations"]["runbook_url"] != f"{INSTRUCTIONS}#{rule['alert'].lower()}":
            yield f"{ALERTS.name}: {rule['alert']}: its runbook_url isn't its own"
    for name in sorted(names - headings):
        yield f"{INSTRUCTIONS}: says nothing of {name}"


def ask(prometheus, query):
    """How many series a query gives now; a text when it is wrong."""
    query = re.sub(r"\$__\w+", "1m", query)
    query = re.sub(r"\$\w+", ".*", query)
    if found := re.fullmatch(r"\s*label_values\((.+),\s*\w+\)\s*", query):
        query = found[1]
    url = f"{prometheus.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return len(json.load(answer)["data"]["result"])
    except urllib.error.HTTPError as error:
        return json.load(error).get("error", str(error))


def check_answers(prometheus):
    for place, query in queries():
        names, _, _ = parts(query)
        answer = ask(prometheus, query)
        if isinstance(answer, str):
            yield f"{place}: {answer}"
        elif place.startswith(ALERTS.name):
            # A healthy system gives nothing here; so its metrics are asked for by themselves.
            for name in sorted(names - RARE):
                if not ask(prometheus, name):
                    yield f"{place}: {name} gives nothing"
        elif answer == 0 and not names & RARE:
            yield f"{place}: gives nothing"


def text_of(place):
    if place.startswith(("http://", "https://")):
        with urllib.request.urlopen(place, timeout=30) as answer:
            return answer.read().decode()
    return pathlib.Path(place).read_text(encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--metrics", required=True, action="append", help="/metrics of a process: URL or file")
    parser.add_argument("--prometheus", help="address of a Prometheus that reads them")
    args = parser.parse_args()
    have = {}
    for place in args.metrics:
        try:
            text = text_of(place)
        except OSError as problem:
            sys.exit(f"check.py: {place}: {problem}")
        for name, labels in exported(text).items():
            have.setdefault(name, set()).update(labels)
    problems = [*check_names(have), *check_instructions()]
    if args.prometheus:
        try:
            problems += check_answers(args.prometheus)
        except OSError as problem:
            sys.exit(f"check.py: {args.prometheus}: {problem}")
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(1)
    print(f"{len(list(queries()))} queries ask only for what there is")


if __name__ == "__main__":
    main()
