#!/usr/bin/env python3
"""Looks at, backs up and repairs one partition of a state topic; see state-repair.md.

It needs confluent-kafka (pip install confluent-kafka) and nothing of Stepstream's. Values are bytes to it,
but for the position record that `start-over` makes. It refuses to write while a processor is in the group of the feed, and writes under the
partition's own transactional id, so whoever still holds the partition is fenced.
"""

import argparse
import base64
import json
import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

KINDS = ["model", "function", "workflow", "agent"]
SEPARATOR = b"\x1f"
GENESIS = SEPARATOR + b"genesis" + SEPARATOR
POSITION = SEPARATOR + b"position" + SEPARATOR
SECONDS = 30


def snapshot(args, partition):
    """The newest value of each key, as a committed reader sees it."""
    consumer = Consumer(
        args.client
        | {
            "group.id": f"{args.prefix}stepstream-repair",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    entries = {}
    try:
        consumer.assign([TopicPartition(args.topic, partition, 0)])
        while True:
            message = consumer.poll(SECONDS)
            if message is None:
                sys.exit(f"no answer within {SECONDS} s: is {args.brokers} right?")
            if message.error() is None:
                if message.value() is None:
                    entries.pop(message.key(), None)
                else:
                    entries[message.key()] = message.value()
            elif message.error().code() == KafkaError._PARTITION_EOF:
                return entries
            else:
                sys.exit(f"{args.topic}/{partition}: {message.error()}")
    finally:
        consumer.close()


def write(args, entries):
    """Makes the partition hold these entries and no others, in one transaction; the position comes last."""
    require_nobody(args)
    gone = snapshot(args, args.partition).keys() - entries.keys()
    producer = Producer(
        args.client | {"transactional.id": f"{args.prefix}{args.kind}-{args.partition}", "acks": "all"}
    )
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    for key in sorted(gone):
        produce(args, producer, key, None)
    for key in sorted(entries, key=lambda key: (key == POSITION, key)):
        produce(args, producer, key, entries[key])
    producer.commit_transaction(SECONDS)
    print(f"{args.topic}/{args.partition}: {len(entries)} entries written, {len(gone)} removed")


def produce(args, producer, key, value):
    while True:
        try:
            return producer.produce(args.topic, key=key, value=value, partition=args.partition)
        except BufferError:
            producer.poll(1)


def require_nobody(args):
    admin = AdminClient(args.client)
    futures = admin.describe_consumer_groups([args.group], request_timeout=SECONDS)
    state = futures[args.group].result(SECONDS).state
    if state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD):
        sys.exit(f"group {args.group} is {state.name}: stop every process with this role first")


def show(args):
    entries = snapshot(args, args.partition)
    parts = {}
    for key in entries.keys() - {GENESIS, POSITION}:
        part = key.split(SEPARATOR)[1].decode() if key.count(SEPARATOR) >= 2 else "unknown"
        parts[part] = parts.get(part, 0) + 1
    for name, key in [("genesis", GENESIS), ("position", POSITION)]:
        print(f"{name:10} {'there' if key in entries else 'missing'}")
    for part in sorted(parts):
        print(f"{part:10} {parts[part]}")


def backup(args):
    entries = snapshot(args, args.partition)
    text = lambda some: base64.b64encode(some).decode()
    with open(args.file, "x", encoding="ascii") as file:
        head = {"topic": args.topic, "partition": args.partition, "entries": len(entries)}
        file.write(json.dumps(head) + "\n")
        for key in sorted(entries):
            file.write(json.dumps([text(key), text(entries[key])]) + "\n")
    print(f"{args.topic}/{args.partition}: {len(entries)} entries in {args.file}")


def restore(args):
    with open(args.file, encoding="ascii") as file:
        head = json.loads(file.readline())
        entries = {base64.b64decode(key): base64.b64decode(value) for key, value in map(json.loads, file)}
    if (head["topic"], head["partition"]) != (args.topic, args.partition):
        sys.exit(f"{args.file} is of {head['topic']}/{head['partition']}")
    if head["entries"] != len(entries) or GENESIS not in entries:
        sys.exit(f"{args.file} is not whole")
    write(args, entries)


def start_over(args):
    require_nobody(args)
    admin = AdminClient(args.client)
    topics = admin.list_topics(args.topic, SECONDS).topics[args.topic]
    places = [args.partition, *sorted(topics.partitions.keys() - {args.partition})]
    found = [snapshot(args, place) for place in places]
    genesis = next((entries[GENESIS] for entries in found if GENESIS in entries), None)
    positions = [entries[POSITION] for entries in found if POSITION in entries]
    if genesis is None or not positions:
        sys.exit(f"no partition of {args.topic} has a genesis and a position record to go by")
    feed = TopicPartition(f"{args.prefix}{args.kind}-requests", args.partition)
    log = TopicPartition(f"{args.prefix}{args.kind}-events", args.partition)
    asked = ConsumerGroupTopicPartitions(args.group, [feed])
    known = admin.list_consumer_group_offsets([asked])[args.group].result(SECONDS).topic_partitions[0]
    consumer = Consumer(args.client | {"group.id": f"{args.prefix}stepstream-repair"})
    oldest, newest = consumer.get_watermark_offsets(feed, SECONDS)
    log_end = consumer.get_watermark_offsets(log, SECONDS)[1]
    consumer.close()
    if args.feed == "again":
        feed_offset = oldest
    elif oldest <= known.offset <= newest:
        feed_offset = known.offset
    else:
        sys.exit(f"group {args.group} has no position that is still in {feed.topic}/{feed.partition}")
    generation = max(map(generation_of, positions))
    # Its program is none, so whoever takes over raises the generation.
    fields = [long(log_end), long(feed_offset), long(int(time.time() * 1000)), long(generation), long(0)]
    position = positions[0][:5] + b"".join(fields) + long(0) + long(0)
    write(args, {GENESIS: genesis, POSITION: position})
    print(f"the log goes on at {log_end}, the feed at {feed_offset}")


def long(value):
    """Avro's int and long; a length, and the end of an array, as well."""
    value, out = (value << 1) ^ (value >> 63), b""
    while value >= 0x80:
        value, out = value >> 7, out + bytes([value & 0x7F | 0x80])
    return out + bytes([value])


def generation_of(position):
    """The fourth field of a position record: log_offset, feed_offset, state_time, generation, ..."""
    at, value = 5, 0
    for _ in range(4):
        value, shift = 0, 0
        while True:
            byte = position[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
    return (value >> 1) ^ -(value & 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokers", default="127.0.0.1:9092")
    parser.add_argument("--prefix", default="", help="kafka.prefix")
    parser.add_argument(
        "--property", action="append", default=[], metavar="NAME=VALUE", help="of librdkafka, e.g. for SASL"
    )
    commands = parser.add_subparsers(required=True)
    for run, text in [
        (show, "count the entries"),
        (backup, "write the entries to a new file"),
        (restore, "make the partition what the file says"),
        (start_over, "forget everything about the partition"),
    ]:
        command = commands.add_parser(run.__name__.replace("_", "-"), help=text)
        command.set_defaults(run=run)
        command.add_argument("kind", choices=KINDS)
        command.add_argument("partition", type=int)
        if run in (backup, restore):
            command.add_argument("file")
        if run is start_over:
            command.add_argument(
                "--feed", choices=["skip", "again"], required=True,
                help="skip: go on after the requests that were admitted; again: run all that are kept again",
            )
    args = parser.parse_args()
    args.client = {"bootstrap.servers": args.brokers} | dict(p.split("=", 1) for p in args.property)
    args.topic = f"{args.prefix}{args.kind}-state"
    args.group = f"{args.prefix}stepstream-{args.kind}"
    args.run(args)


if __name__ == "__main__":
    main()
