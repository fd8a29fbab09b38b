"""aiohttp's client against the yardstick: its pool, its uploads, its WebSocket."""
import asyncio
import hashlib
import os

import aiohttp
from checks import HTTP, run

LARGE = os.urandom(16 << 20)


def session(created=None, limit=100):
    """A client that adds to the list `created` whenever it opens a connection."""
    trace = aiohttp.TraceConfig()
    if created is not None:
        async def on_create(*_):
            created.append(1)

        trace.on_connection_create_end.append(on_create)
    connector = aiohttp.TCPConnector(limit=limit)
    return aiohttp.ClientSession(HTTP, connector=connector, trace_configs=[trace])


async def pieces(bytes_, size):
    for start in range(0, len(bytes_), size):
        yield bytes_[start:start + size]


async def check_a_pool_of_four_serves_four_hundred_requests():
    created = []
    async with session(created, limit=4) as client:
        async def one(n):
            path = ["/plaintext", "/json", "/204", "/chunked", "/bytes/70000"][n % 5]
            async with client.get(path) as response:
                assert response.status == (204 if path == "/204" else 200)
                return len(await response.read())

        sizes = await asyncio.gather(*(one(n) for n in range(400)))
        assert sizes == [13, 27, 0, 30, 70000] * 80
        assert len(created) == 4, len(created)


async def check_json_and_a_date_are_there():
    async with session() as client, client.get("/json") as response:
        assert await response.json() == {"message": "Hello, World!"}
        assert response.headers["Date"].endswith(" GMT")


async def check_a_body_of_known_length_is_echoed():
    async with session() as client, client.post("/echo/stream", data=LARGE) as response:
        assert hashlib.sha256(await response.read()).digest() == hashlib.sha256(LARGE).digest()


async def check_an_upload_in_chunks_is_echoed_while_it_is_sent():
    async with session() as client, client.post("/echo/stream", data=pieces(LARGE, 50_001)) as response:
        echoed = hashlib.sha256()
        async for piece in response.content.iter_any():
            echoed.update(piece)
        assert echoed.digest() == hashlib.sha256(LARGE).digest()


async def check_who_expects_100_continue_gets_it():
    async with session() as client:
        for n in range(3):
            async with client.post("/echo", data=f"body {n}", expect100=True) as response:
                assert await response.text() == f"body {n}"


async def check_head_and_bodiless_answers_keep_the_connection():
    created = []
    async with session(created, limit=1) as client:
        for _ in range(10):
            async with client.head("/") as response:
                assert response.status == 200 and int(response.headers["Content-Length"]) > 0
            async with client.head("/chunked") as response:
                assert response.status == 200
            async with client.get("/304") as response:
                assert response.status == 304
        assert len(created) == 1, len(created)


async def check_those_who_wait_do_not_hold_up_the_others():
    async with session() as client:
        async def get(path):
            async with client.get(path) as response:
                return response.status

        sleeping = asyncio.gather(*(get("/sleep/1000") for _ in range(20)))
        for _ in range(100):
            assert await get("/plaintext") == 200
        assert not sleeping.done()
        assert await sleeping == [200] * 20


async def check_errors_are_answers():
    async with session() as client:
        async with client.get("/nowhere") as response:
            assert response.status == 404
        async with client.delete("/plaintext") as response:
            assert response.status == 405 and "GET" in response.headers["Allow"]


async def check_a_websocket_carries_text_bytes_and_pings():
    async with session() as client, client.ws_connect("/ws/echo", heartbeat=0.2) as ws:
        await ws.send_str("täxt")
        assert await ws.receive_str() == "täxt"
        await ws.send_bytes(b"\x00\xff")
        assert await ws.receive_bytes() == b"\x00\xff"
        reading = asyncio.create_task(ws.receive_str())
        # Time for three of the client's own pings; it ends the connection when one is not answered.
        await asyncio.sleep(0.7)
        await ws.send_str("still here")
        assert await reading == "still here"
        await ws.close(code=4001, message=b"enough")
        assert ws.close_code == 4001


async def check_an_offer_of_compression_is_passed_over():
    async with session() as client, client.ws_connect("/ws/echo", compress=15) as ws:
        assert ws.compress == 0
        await ws.send_str("x" * 100_000)
        assert await ws.receive_str() == "x" * 100_000


async def check_a_hundred_websockets_share_a_room():
    async with session(limit=0) as client:
        members = [await client.ws_connect("/ws/room") for _ in range(100)]
        await members[0].send_str("to all")
        assert [await member.receive_str(timeout=10) for member in members] == ["to all"] * 100
        await asyncio.gather(*(member.close() for member in members))
        assert all(member.close_code == 1000 for member in members)


run(globals())
