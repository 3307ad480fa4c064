"""Measures how fast singer-sdk's own writers write the records of a file of Singer messages.

Usage: writer.py MESSAGES >/dev/null. Only making a RecordMessage of each record and writing it is timed,
without time_extracted, which would slow the writers down. The rates, in records per second, go to stderr.
"""

import json
import sys
import time

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage, write_message


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        messages = [message for message in map(json.loads, file) if message["type"] == "RECORD"]
    records = [(message["stream"], message["record"]) for message in messages]
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
