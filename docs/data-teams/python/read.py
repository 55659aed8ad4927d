"""Reads the execution log to its end and prints its rows, one JSON line each.

With --types it prints, in place of the rows, which Python type each column had: null for a column that
no row filled. Exit code 0; 1 when something failed, said on standard error; 2 when the arguments are wrong.
"""

import argparse
import datetime
import json
import sys
import time
import uuid

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError


class Failed(Exception):
    """Something that the person at the terminal should read."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokers", required=True, help="bootstrap servers, host:port,...")
    parser.add_argument("--registry", required=True, help="base URL of the schema registry")
    parser.add_argument("--topic-prefix", default="", help="what precedes every topic name")
    parser.add_argument("--execution", help="only rows of this execution")
    parser.add_argument("--types", action="store_true", help="print the columns' types, not the rows")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for all of it (60)")
    return parser.parse_args()


def values(brokers, topic, deadline):
    """What the topic holds now; a transaction that is still open isn't waited for."""
    consumer = Consumer({
        "bootstrap.servers": brokers,
        # Required by the client, but nothing is committed and no group is joined.
        "group.id": f"example-{uuid.uuid4()}",
        "enable.auto.commit": False,
        # This client's default, said since others have another: Java's reads uncommitted records.
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "log_level": 0,
    })
    try:
        found = consumer.list_topics(topic, timeout=max(deadline - time.monotonic(), 0.1)).topics[topic]
        if found.error is not None:
            raise Failed(f"topic {topic} at {brokers}: {found.error.str()}")
        unread = set(found.partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in unread])
        while unread:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed(f"topic {topic} couldn't be read to its end in time")
            message = consumer.poll(min(left, 1.0))
            if message is None:
                continue
            if message.error() is None:
                yield message.value()
            elif message.error().code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                raise Failed(f"topic {topic}: {message.error().str()}")
    finally:
        consumer.close()


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"no JSON for {type(value)}")


def main():
    args = arguments()
    deadline = time.monotonic() + args.timeout
    topic = args.topic_prefix + "execution-log"
    decode = AvroDeserializer(SchemaRegistryClient({"url": args.registry, "timeout": args.timeout, "max.retries": 1}))
    context = SerializationContext(topic, MessageField.VALUE)
    types = {}
    for value in values(args.brokers, topic, deadline):
        try:
            row = decode(value, context)
        except SerializationError:
            raise
        except Exception as error:
            # The registry's client lets the errors of its HTTP library through, which differ by version.
            raise Failed(f"registry at {args.registry}: {error}") from error
        if args.execution not in (None, row["execution_id"]):
            continue
        for column, content in row.items():
            types.setdefault(column, set())
            if content is not None:
                types[column].add(type(content).__name__)
        if not args.types:
            print(json.dumps(row, default=plain, ensure_ascii=False))
    if args.types:
        print(json.dumps({column: "|".join(sorted(seen)) or None for column, seen in types.items()}))


if __name__ == "__main__":
    try:
        main()
    except (Failed, SerializationError) as problem:
        sys.exit(f"read.py: {problem}")
    except KafkaException as problem:
        sys.exit(f"read.py: {problem.args[0].str()}")
