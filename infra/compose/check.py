#!/usr/bin/env python3
"""Says whether docker-compose.yml, .env.example and the files that it mounts agree with each other.

It needs PyYAML and no docker: whether the file as such is valid, `docker compose config` says.

    infra/compose/check.py
"""

import json
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def toml(text):
    """The configuration file, whose values are all on one line and as JSON has them."""
    areas, area = {}, {}
    for line in filter(None, text.splitlines()):
        if found := re.fullmatch(r"\[([\w-]+)\]", line):
            area = areas.setdefault(found[1], {})
        else:
            key, value = line.split(" = ", 1)
            area[key] = json.loads(value)
    return areas


def settings(text):
    """The variables of .env.example; those that are commented out have their default as value."""
    return {name: (value, bool(mark)) for mark, name, value in re.findall(r"^(#?)([A-Z_]+)=(.*)$", text, re.M)}


def check_settings(compose, example):
    """Each variable stands in both files, with one default."""
    used = {}
    for name, kind, default in VARIABLE.findall(compose):
        used.setdefault(name, set()).add(default if kind == "-" else None)
    for name in sorted(used.keys() - example.keys()):
        yield f".env.example: lacks {name}"
    for name in sorted(example.keys() - used.keys()):
        yield f"docker-compose.yml: doesn't use {name}"
    for name in sorted(used.keys() & example.keys()):
        value, commented = example[name]
        expected = {value} if commented else {None, ""}
        if not used[name] <= expected:
            yield f".env.example: {name} is '{value}', docker-compose.yml has {used[name]}"


def check_services(services, volumes):
    for name, service in services.items():
        image = re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", service["image"])
        if ":" not in image or image.endswith(":latest"):
            yield f"{name}: {image} is no fixed version"
        if "healthcheck" not in service and name != "gateway":
            yield f"{name}: has no health check"
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                if not (ROOT / source).exists():
                    yield f"{name}: mounts {source}, which isn't there"
                if not mount.endswith(":ro"):
                    yield f"{name}: may write to {source}"
            elif source not in volumes:
                yield f"{name}: there is no volume {source}"
        for port in service.get("ports", []):
            if not port.startswith("${BIND_ADDRESS:-127.0.0.1}:"):
                yield f"{name}: {port} is open to the network"


def check_addresses(services, config, prometheus):
    """Whoever is named is a service, with the port that the name goes with."""
    named = {address.split(":")[0] for address in config["kafka"]["brokers"]}
    named |= {address.split(":")[0] for address in config["store"].get("nodes", [])}
    named |= set(re.findall(r"^https?://([\w-]+)", config["registry"]["url"]))
    ports = {"gateway": config["gateway"]["listen"].rsplit(":", 1)[1]}
    other = config["telemetry"]["metrics-listen"].rsplit(":", 1)[1]
    for job in prometheus["scrape_configs"]:
        for found in job.get("dns_sd_configs", []):
            named |= set(found["names"])
            for name in found["names"]:
                if str(found["port"]) != ports.get(name, other):
                    yield f"prometheus.yml: {name} doesn't listen at {found['port']}"
        for static in job.get("static_configs", []):
            named |= {target.split(":")[0] for target in static["targets"]} - {"localhost"}
    for name in sorted(named - services.keys()):
        yield f"{name}: is named as an address, and isn't a service"


def check_partitions(config, alerts):
    partitions = config["kafka"]["partitions"]
    for group in alerts["groups"]:
        for rule in group["rules"]:
            if rule["alert"] == "PartitionsUnowned" and not rule["expr"].endswith(f"< {partitions}"):
                yield f"alerts.yml: PartitionsUnowned isn't about {partitions} partitions"


def main():
    text = read("docker-compose.yml")
    compose = yaml.safe_load(text)
    config = toml(read("infra/compose/stepstream.toml"))
    problems = [
        *check_settings(text, settings(read(".env.example"))),
        *check_services(compose["services"], compose["volumes"]),
        *check_addresses(compose["services"], config, yaml.safe_load(read("infra/prometheus/prometheus.yml"))),
        *check_partitions(config, yaml.safe_load(read("infra/prometheus/alerts.yml"))),
    ]
    for problem in problems:
        print(problem)
    if problems:
        sys.exit(1)
    print(f"{len(compose['services'])} services agree with their settings")


if __name__ == "__main__":
    main()
