"""Callers who disturb others, in a process of their own, as they would be: `python -m support.disturb PROFILE BLOB WHAT…`.

`PROFILE` is a JSON object with the members of `hsmkms.client.Profile`, `BLOB` a ciphertext in hexadecimal digits, and each `WHAT` one
caller: `create` creates keys, `hurry` re-encrypts with deadlines of one millisecond. They start at the first line of standard input
and stop at its end; then standard output gets a JSON object with the number of calls by caller and end.
"""

from __future__ import annotations

import json
import os
import sys

from hsmkms.client import Client, Profile
from support.load import Call, Load

HURRY_S = 0.001


def _call(what: str, settings: dict[str, str], blob: bytes) -> Call:
    if what == "hurry":
        client = Client(Profile(**settings, timeout_s=HURRY_S, attempts=1))  # type: ignore[arg-type]
        return lambda: client.re_encrypt(ciphertext_blob=blob, destination_key_id="alias/destination") and None
    client = Client(Profile(**settings, timeout_s=30.0))  # type: ignore[arg-type]
    client.list_aliases()
    return lambda: client.create_key(description="one of many") and None


def main() -> None:
    """Run."""
    os.nice(10)  # elsewhere, these callers would take no processor time from the others' clients
    settings, blob, *callers = sys.argv[1:]
    loads = {what: Load([_call(what, json.loads(settings), bytes.fromhex(blob))]) for what in callers}
    print("prepared", flush=True)
    sys.stdin.readline()
    for load in loads.values():
        load.start()
    sys.stdin.read()
    for load in loads.values():
        load.stop()
    print(json.dumps({what: load.tally() for what, load in loads.items()}), flush=True)


if __name__ == "__main__":
    main()
