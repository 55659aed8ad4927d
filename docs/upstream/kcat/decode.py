"""Turns what `kcat -f '%R%s'` prints, values behind their lengths, into one JSON line each.

The values are Avro in Confluent framing; their schemas come from the registry.
"""

import argparse
import datetime
import json
import struct
import sys

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError


def values(stream):
    """A length is four bytes, big-endian; -1 stands for a record without a value."""
    while head := stream.read(4):
        if len(head) < 4:
            sys.exit("decode.py: the input ends within a length: was kcat called with -f '%R%s'?")
        (length,) = struct.unpack(">i", head)
        value = stream.read(length) if length >= 0 else None
        if value is not None and len(value) < length:
            sys.exit("decode.py: the input ends within a value: was kcat called with -f '%R%s'?")
        yield value


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"no JSON for {type(value)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--registry", required=True, help="base URL of the schema registry")
    parser.add_argument("--topic", default="execution-log", help="for error messages")
    args = parser.parse_args()
    decode = AvroDeserializer(SchemaRegistryClient({"url": args.registry, "max.retries": 1}))
    context = SerializationContext(args.topic, MessageField.VALUE)
    for value in values(sys.stdin.buffer):
        try:
            record = None if value is None else decode(value, context)
        except SerializationError as problem:
            sys.exit(f"decode.py: {problem}")
        except Exception as problem:
            # The registry's client lets the errors of its HTTP library through, which differ by version.
            sys.exit(f"decode.py: registry at {args.registry}: {problem}")
        print(json.dumps(record, default=plain, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
