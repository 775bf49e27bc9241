"""What the tests' other processes run: `python child.py PATH WHAT [ARGUMENT…]`, each saying on standard output what it did."""

import asyncio
import sys
from pathlib import Path

from catalog.helpers import SCOPE, SUITE, alias_of, finished_key, mutation, new_key, opened
from hsmkms.core.model import KeyState, RotationType


async def main(path: Path | str, what: str, *arguments: str) -> None:
    catalog = opened(path, busy_timeout_s=5.0)
    if what == "change":
        key = catalog.view.key(SCOPE, arguments[0])
        assert key is not None
        await catalog.changes.set_state(mutation(), key, KeyState.DISABLED)
        await catalog.changes.delete_alias(mutation(), SCOPE, "alias/old")
        made = await finished_key(catalog)
        await catalog.changes.create_alias(mutation(), alias_of(made, "new"))
        print(made.key_id, flush=True)
        await catalog.close()
    elif what == "begin":
        print((await catalog.changes.begin_key(mutation(key="k"), new_key())).key.key_id, flush=True)
        await asyncio.sleep(60)  # to be killed here, with the row written and nothing else done
    elif what == "rotate":
        key = catalog.view.key(SCOPE, arguments[0])
        assert key is not None
        print(
            (await catalog.changes.begin_rotation(mutation(), key, SUITE, RotationType.ON_DEMAND)).version, flush=True
        )
        await asyncio.sleep(60)
    elif what == "count":
        for number in range(int(arguments[1])):
            await catalog.changes.create_alias(
                mutation(), alias_of(catalog.view.keys_after(SCOPE, "", 1)[0], f"{arguments[0]}-{number}")
            )
        print("done", flush=True)
        await catalog.close()


where = sys.argv[1]
asyncio.run(main(where if where.startswith("postgresql:") else Path(where), *sys.argv[2:]))
