"""Writes the records of a file of Singer messages with singer-sdk's own writers, as fast as they do it.

Usage: writer.py MESSAGES >/dev/null. What is timed is making a RecordMessage of a record and writing it, nothing
else; without time_extracted, which would take the writers longer. Rates, in records a second, go to stderr.
"""

import json
import sys
import time

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage, write_message


def main():
    with open(sys.argv[1], encoding="utf-8") as messages:
        parsed = map(json.loads, messages)
        records = [(message["stream"], message["record"]) for message in parsed if message["type"] == "RECORD"]
    writers = [
        ("singer-sdk's writer", write_message),
        ("singer-sdk's writer with msgspec", MsgSpecWriter().write_message),
    ]
    for name, write in writers:
        begin = time.perf_counter()
        for stream, record in records:
            write(RecordMessage(stream, record))
        print(f"{len(records) / (time.perf_counter() - begin):.0f} {name}", file=sys.stderr)


main()
