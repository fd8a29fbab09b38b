"""The client of Python's `websockets` against the yardstick, whose limits are the library's defaults."""
import asyncio
import os

from checks import WS, run
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

MESSAGE_BYTES_MAX = 1 << 20


def echo(path="/ws/echo", **options):
    return connect(WS + path, max_size=None, **options)


async def check_text_comes_back_as_text_and_bytes_as_bytes():
    async with echo() as ws:
        for message in ["tick", "", "Ünïcödé, 日本語, 🦀", b"\x00\xff\xfe", b"", "x" * 125, "x" * 126, b"y" * 65535, b"y" * 65536]:
            await ws.send(message)
            assert await ws.recv() == message


async def check_the_short_path_is_the_same():
    async with echo("/ws") as ws:
        await ws.send("tick")
        assert await ws.recv() == "tick"


async def check_fragments_are_put_together():
    async with echo() as ws:
        await ws.send(["one, ", "two, ", "", "three"])
        assert await ws.recv() == "one, two, three"
        await ws.send([b"\x01", b"\x02" * 70000, b"\x03"])
        assert await ws.recv() == b"\x01" + b"\x02" * 70000 + b"\x03"


async def check_a_character_may_be_cut_by_a_fragment():
    crab = "🦀".encode()
    async with echo() as ws:
        await ws.send([crab[:1], crab[1:3], crab[3:]], text=True)
        assert await ws.recv() == "🦀"


async def check_pings_are_answered_also_between_fragments():
    async with echo() as ws:
        await asyncio.wait_for(await ws.ping(b"are you there"), 5)

        async def halves():
            yield "first, "
            await asyncio.wait_for(await ws.ping(), 5)
            yield "second"

        await ws.send(halves())
        assert await ws.recv() == "first, second"


async def check_close_codes_and_reasons_come_back():
    for code, reason in [(1000, ""), (1001, "going"), (1011, "r" * 123), (3000, "Ünïcödé"), (4999, "own")]:
        async with echo() as ws:
            await ws.close(code, reason)
            assert ws.close_code == code, (code, ws.close_code)
            assert ws.protocol.close_rcvd.code == code


async def check_a_message_of_one_mebibyte_is_echoed():
    message = os.urandom(MESSAGE_BYTES_MAX)
    async with echo() as ws:
        for _ in range(10):
            await ws.send(message)
            assert await ws.recv() == message


async def check_a_message_one_byte_longer_is_refused_with_1009():
    async with echo() as ws:
        await ws.send(bytes(MESSAGE_BYTES_MAX + 1))
        try:
            await ws.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 1009, closed
        else:
            raise AssertionError("it was echoed")


async def check_a_thousand_messages_sent_without_waiting_come_back_in_order():
    async with echo() as ws:
        async def send():
            for n in range(1000):
                await ws.send(str(n))

        sending = asyncio.create_task(send())
        assert [await ws.recv() for _ in range(1000)] == [str(n) for n in range(1000)]
        await sending


async def check_an_offer_of_compression_is_passed_over():
    async with echo(compression="deflate") as ws:
        assert ws.protocol.extensions == []
        await ws.send("plain")
        assert await ws.recv() == "plain"


async def check_an_unknown_subprotocol_is_not_chosen():
    async with echo(subprotocols=["chat.example"]) as ws:
        assert ws.subprotocol is None


async def check_a_path_without_websocket_says_404():
    try:
        async with echo("/nowhere"):
            raise AssertionError("it was opened")
    except InvalidStatus as refused:
        assert refused.response.status_code == 404


async def check_a_room_tells_everyone_the_sender_too():
    async with echo("/ws/room") as ada, echo("/ws/room") as bob, echo("/room") as eve:
        everyone = [ada, bob, eve]
        # All are members when each has been answered.
        for member in everyone:
            await asyncio.wait_for(await member.ping(), 5)
        await ada.send("hello")
        await bob.send(b"\x01")
        for member in everyone:
            heard = {await member.recv(), await member.recv()}
            assert heard == {"hello", b"\x01"}, heard


async def check_two_hundred_connections_live_side_by_side():
    async def one(n):
        async with echo() as ws:
            for m in range(5):
                await ws.send(f"{n} {m}")
                assert await ws.recv() == f"{n} {m}"

    await asyncio.gather(*(one(n) for n in range(200)))


run(globals())
