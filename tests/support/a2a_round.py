"""What the clients of A2A 1.0 and 0.3 share: whom they talk to, how they check, and the order of the round."""
import asyncio
import sys

SERVER, WORKER, BINDING = sys.argv[1:4]
AGENT = f"{SERVER}/agents/{WORKER}"


def check(fits, what):
    if not fits:
        raise AssertionError(what)


async def drain(events):
    return [event async for event in events]


async def refused(kind, call, fits=lambda error: True):
    """The call must raise an error of the kind that fits."""
    try:
        await call
    except kind as error:
        check(fits(error), error)
        return
    raise AssertionError(f"not refused with {kind.__name__}")


def go(*steps):
    """Takes the steps, one after the other. The last line says that all is well."""

    async def take():
        for step in steps:
            await step(AGENT)
            print(step.__name__, "ok", flush=True)

    asyncio.run(take())
    print("all is well")
