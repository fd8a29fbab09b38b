"""Python's `websockets` and aiohttp against a yardstick that compresses: what they agree on, and that it is kept."""
import asyncio
import itertools
import random

import aiohttp
from checks import HTTP, WS, run
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

# With a context of one's own, which may refer to earlier messages, and without.
PATHS = ["/ws/deflate", "/ws/deflate/shared"]
rng = random.Random(1)
MESSAGES = [
    "", "a", "täxt 🦀", "x" * 125, "x" * 126, "the same again " * 1_000, "the same again " * 1_000, b"\0" * 65_536,
    # What cannot be made shorter.
    rng.randbytes(100_000), "".join(chr(rng.randrange(32, 0x2FFF)) for _ in range(20_000)),
]


def deflate(**parameters):
    # Whatever it is set to, the client reads with the largest window.
    return ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5}, **parameters)


async def say_all(ws):
    for message in MESSAGES:
        await ws.send(message)
        assert await ws.recv() == message
    # Many under way, in fragments, too.
    for n in range(200):
        await ws.send([str(n), " and ", "more " * n])
    for n in range(200):
        assert await ws.recv() == f"{n} and " + "more " * n


async def check_websockets_agrees_by_default_and_every_message_comes_back():
    for path in PATHS:
        async with connect(WS + path, max_size=None) as ws:
            assert [extension.name for extension in ws.protocol.extensions] == ["permessage-deflate"]
            await say_all(ws)


async def check_websockets_every_parameter_is_agreed_on_or_refused_and_kept():
    flags, bits = [False, True], [None, 9, 12, 15]
    for path, ours, theirs, our_bits, their_bits in itertools.product(PATHS, flags, flags, bits, bits):
        offer = deflate(
            server_no_context_takeover=theirs, client_no_context_takeover=ours,
            server_max_window_bits=their_bits, client_max_window_bits=our_bits or True,
        )
        async with connect(WS + path, max_size=None, compression=None, extensions=[offer]) as ws:
            [agreed] = ws.protocol.extensions
            assert agreed.remote_no_context_takeover or not theirs, "what was asked for is granted"
            assert their_bits is None or agreed.remote_max_window_bits <= their_bits
            for message in MESSAGES[:8] * 2:
                await ws.send(message)
                assert await ws.recv() == message


async def check_aiohttp_agrees_and_every_message_comes_back():
    async with aiohttp.ClientSession() as session:
        for path, bits in itertools.product(PATHS, [9, 12, 15]):
            async with session.ws_connect(HTTP + path, compress=bits, max_msg_size=0) as ws:
                assert ws.compress > 0
                for message in MESSAGES * 2:
                    if isinstance(message, str):
                        await ws.send_str(message)
                        assert await ws.receive_str() == message
                    else:
                        await ws.send_bytes(message)
                        assert await ws.receive_bytes() == message


async def check_a_room_tells_those_who_compress_and_those_who_do_not_the_same():
    async with aiohttp.ClientSession() as session:
        room = HTTP + "/ws/deflate/room"
        members = [await session.ws_connect(room, compress=15 if n % 2 else 0) for n in range(20)]
        said = "to all of you, " * 500
        await members[0].send_str(said)
        assert [await member.receive_str(timeout=10) for member in members] == [said] * 20
        await asyncio.gather(*(member.close() for member in members))


run(globals())
