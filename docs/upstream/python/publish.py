"""Publishes a model request with a plain Kafka client and follows it until it has ended.

Prints one JSON line: id, status and output, or error. Exit code 0 when the model answered, 1 when it
didn't (with the line, or with a sentence on standard error), 2 when the arguments are wrong.
"""

import argparse
import contextlib
import json
import sys
import time
import uuid

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

RECORD = "io.stepstream.v1.ModelRequest"
TERMINAL = {"execution_succeeded", "execution_failed", "execution_cancelled", "execution_timed_out"}


class Failed(Exception):
    """Something that the person at the terminal should read."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokers", required=True, help="bootstrap servers, host:port,...")
    parser.add_argument("--registry", required=True, help="base URL of the schema registry")
    parser.add_argument("--model", required=True, help="alias of a model definition")
    parser.add_argument("--prompt", default="Say hello.", help="what the user says")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for all of it (60)")
    parser.add_argument("--topic-prefix", default="", help="what precedes every topic name")
    parser.add_argument("--schema", help="an .avsc file to register, instead of the registry's latest")
    return parser.parse_args()


@contextlib.contextmanager
def registry_at(url):
    """The registry's client lets the errors of its HTTP library through, which differ by version."""
    try:
        yield
    except (Failed, KafkaException, SerializationError):
        raise
    except Exception as error:
        raise Failed(f"registry at {url}: {error}") from error


def serializer(registry, registry_url, subject, schema_file):
    """The registry's own schema unless a file is given: then an upstream needs nothing but the registry."""
    if schema_file:
        try:
            with open(schema_file, encoding="utf-8") as file:
                schema, settings = file.read(), {"auto.register.schemas": True}
        except OSError as error:
            raise Failed(f"--schema: {error}") from error
    else:
        try:
            schema = registry.get_latest_version(subject).schema.schema_str
        except SchemaRegistryError as error:
            if error.http_status_code != 404:
                raise
            raise Failed(f"{registry_url} has no subject {subject}: give --schema model-request.avsc") from error
        settings = {"auto.register.schemas": False, "use.latest.version": True}
    settings["subject.name.strategy"] = topic_record_subject_name_strategy
    return AvroSerializer(registry, schema, conf=settings)


def consumer_at_end(brokers, topic, seconds):
    """Reads all partitions from where they end now, so that nothing published after this is missed."""
    consumer = Consumer({
        "bootstrap.servers": brokers,
        # Required by the client, but nothing is committed and no group is joined.
        "group.id": f"example-{uuid.uuid4()}",
        "enable.auto.commit": False,
        "log_level": 0,
    })
    found = consumer.list_topics(topic, timeout=seconds).topics[topic]
    if found.error is not None:
        raise Failed(f"topic {topic} at {brokers}: {found.error.str()}")
    places = []
    for partition in found.partitions:
        place = TopicPartition(topic, partition)
        place.offset = consumer.get_watermark_offsets(place, timeout=seconds)[1]
        places.append(place)
    consumer.assign(places)
    return consumer


def publish(brokers, topic, key, value, seconds):
    outcome = []
    producer = Producer({
        "bootstrap.servers": brokers,
        "enable.idempotence": True,
        # The partitioner of Java clients: all upstreams put one key on one partition.
        "partitioner": "murmur2_random",
        "message.timeout.ms": max(int(seconds * 1000), 1),
        "log_level": 0,
    })
    producer.produce(topic, key=key, value=value, on_delivery=lambda error, _: outcome.append(error))
    producer.flush(seconds)
    if not outcome:
        raise Failed(f"topic {topic} at {brokers}: no acknowledgement within {seconds:.0f} s")
    if outcome[0] is not None:
        raise Failed(f"topic {topic} at {brokers}: {outcome[0].str()}")


def follow(consumer, topic, key, decode, deadline):
    """The event that ends the execution; after it comes nothing."""
    while (left := deadline - time.monotonic()) > 0:
        message = consumer.poll(min(left, 1.0))
        if message is None:
            continue
        if message.error() is not None:
            raise Failed(f"topic {topic}: {message.error().str()}")
        if message.key() != key.encode():
            continue
        event = decode(message.value(), SerializationContext(topic, MessageField.VALUE))
        if event["type"] in TERMINAL:
            return event
    raise Failed(f"no answer for {key} in topic {topic} in time")


def output_of(data):
    """The text of a chat answer; any other answer as it is."""
    answer = json.loads(data) if data else None
    try:
        return answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return answer


def main():
    args = arguments()
    deadline = time.monotonic() + args.timeout
    requests, results = args.topic_prefix + "model-requests", args.topic_prefix + "results"
    registry = SchemaRegistryClient({"url": args.registry, "timeout": args.timeout, "max.retries": 1})
    key = str(uuid.uuid4())
    # Everything that is left out has a default in the schema.
    request = {
        "id": key,
        "model": args.model,
        "body": json.dumps({"messages": [{"role": "user", "content": args.prompt}]}),
    }
    with registry_at(args.registry):
        serialize = serializer(registry, args.registry, f"{requests}-{RECORD}", args.schema)
        value = serialize(request, SerializationContext(requests, MessageField.VALUE))

    consumer = consumer_at_end(args.brokers, results, max(deadline - time.monotonic(), 1))
    try:
        publish(args.brokers, requests, key, value, max(deadline - time.monotonic(), 1))
        with registry_at(args.registry):
            event = follow(consumer, results, key, AvroDeserializer(registry), deadline)
    finally:
        consumer.close()

    line = {"id": key, "status": event["type"].removeprefix("execution_")}
    if event["type"] == "execution_succeeded":
        line["output"] = output_of(event["data"])
    elif event["error"]:
        line["error"] = {"code": event["error"]["code"], "message": event["error"]["message"]}
    print(json.dumps(line, ensure_ascii=False))
    return 0 if event["type"] == "execution_succeeded" else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, SerializationError) as problem:
        sys.exit(f"publish.py: {problem}")
    except KafkaException as problem:
        sys.exit(f"publish.py: {problem.args[0].str()}")
