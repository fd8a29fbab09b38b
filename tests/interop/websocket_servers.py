"""The WebSocket client, as the example `wsload`, against servers that we did not write: Python's websockets, Node's ws.

`WSLOAD` is the program; else the release build with the features `deflate` and `tls`. It reflects: it sends back what
it gets. So the servers here say all kinds of things, and look at what comes back. Each check is a sentence, as in
`checks.py`, which is for the other direction.
"""
import asyncio
import contextlib
import os
import pathlib
import random
import ssl
import subprocess
import sys
import tempfile
import traceback

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

HERE = pathlib.Path(__file__).parent
WSLOAD = os.environ.get("WSLOAD", str(HERE.parent.parent / "target/compressing/release/examples/wsload"))
PATIENCE = 60
WORDS = "all work and no play makes a dull load, gr\u00fc\u00df Gott \U0001f600 ".split(" ")


async def wsload(*arguments):
    process = await asyncio.create_subprocess_exec(WSLOAD, *arguments, stdout=asyncio.subprocess.PIPE,
                                                   stderr=asyncio.subprocess.PIPE)
    out, told = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, out.decode(), told.decode()


@contextlib.contextmanager
def certificate():
    """A key and a certificate for `localhost`, signed by itself."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE",
             "-keyout", key, "-out", certificate],
            check=True, capture_output=True)
        yield key, certificate


@contextlib.contextmanager
def secure():
    """What a server needs to be `localhost` by TLS, and how our client is told to trust it."""
    with certificate() as (key, file):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, key)
        yield context, ["--ca", file]


async def reflected(talk, url="ws://127.0.0.1", arguments=(), **options):
    """Have `talk(socket)` talk to one that reflects, and see both of them end well."""
    failures = []

    async def handler(socket):
        try:
            await asyncio.wait_for(talk(socket), PATIENCE)
        except BaseException as error:
            failures.append(error)
            raise

    async with serve(handler, "127.0.0.1", 0, max_size=20 << 20, **options) as server:
        port = server.sockets[0].getsockname()[1]
        code, _, told = await wsload("reflect", f"{url}:{port}/", *arguments)
    if failures:
        raise failures[0]
    assert code == 0, told


def messages(seed):
    """Short and long ones, some that shrink and some that do not."""
    randomly = random.Random(seed)
    for size in [0, 1, 125, 126, 500, 512, 65535, 65536, 70000, 300_000]:
        words = " ".join(randomly.choice(WORDS) for _ in range(size // 5 + 1))
        yield words[:size]
        yield randomly.randbytes(size)
        yield words.encode()


async def say_all(socket):
    for message in messages(1):
        await socket.send(message)
        assert await socket.recv() == message
    # Many at once, and what comes back comes in order.
    several = [f"{number} {number % 7 * 'again '}" for number in range(500)]
    for message in several:
        await socket.send(message)
    for message in several:
        assert await socket.recv() == message


async def check_messages_of_all_sizes_come_back():
    await reflected(say_all, compression=None)


async def check_compressed_messages_of_all_sizes_come_back():
    async def talk(socket):
        assert [extension.name for extension in socket.protocol.extensions] == ["permessage-deflate"]
        await say_all(socket)

    await reflected(talk)


async def check_messages_by_tls_come_back():
    with secure() as (context, trusting):
        async def talk(socket):
            assert socket.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
            await say_all(socket)

        for compression in [None, "deflate"]:
            await reflected(talk, "wss://localhost", trusting, ssl=context, compression=compression)


async def check_a_certificate_that_does_not_convince_ends_it_before_the_handshake():
    async def never(socket):
        raise AssertionError("it has opened")

    with secure() as (context, trusting), certificate() as (_, other):
        async with serve(never, "localhost", 0, ssl=context) as server:
            for host, arguments, why in [("127.0.0.1", trusting, "not valid for name"),
                                         ("localhost", ["--ca", other], "certificate is not accepted")]:
                port = next(socket.getsockname()[1] for socket in server.sockets
                            if socket.family == 2)
                code, _, told = await wsload("reflect", f"wss://{host}:{port}/", *arguments)
                assert code == 1 and why in told, (code, told)


async def check_every_agreement_on_compression_is_kept():
    for server_bits in [None, 9, 12, 15]:
        for client_bits in [None, 9, 12, 15]:
            for forgets in [(False, False), (True, False), (False, True), (True, True)]:
                factory = ServerPerMessageDeflateFactory(
                    server_no_context_takeover=forgets[0], client_no_context_takeover=forgets[1],
                    server_max_window_bits=server_bits, client_max_window_bits=client_bits)

                async def talk(socket):
                    (agreed,) = socket.protocol.extensions
                    assert agreed.local_max_window_bits == (server_bits or 15), agreed
                    assert agreed.remote_max_window_bits == (client_bits or 15), agreed
                    for message in list(messages(2))[9:24]:
                        await socket.send(message)
                        assert await socket.recv() == message

                await reflected(talk, compression=None, extensions=[factory])


async def check_messages_in_fragments_come_back_whole():
    async def talk(socket):
        for pieces in [["a", "", "b"], ["gr\u00fc"] * 1000, [b"\x00" * 70000, b"\xff" * 70000]]:
            await socket.send(pieces)
            assert await socket.recv() == type(pieces[0])().join(pieces)

    await reflected(talk)
    await reflected(talk, compression=None)


async def check_pings_are_answered_with_what_they_hold():
    async def talk(socket):
        for payload in [b"", b"x", b"y" * 125]:
            await (await socket.ping(payload))

    await reflected(talk)


async def check_our_close_is_answered_with_its_code():
    async def talk(socket):
        await socket.close(4321, "gr\u00fc\u00df Gott")
        assert socket.protocol.close_rcvd.code == 4321

    await reflected(talk)


async def check_text_that_is_none_is_refused_with_1007():
    async def talk(socket):
        await socket.send(b"\xff\xfe", text=True)
        try:
            await socket.recv()
        except ConnectionClosedError as error:
            assert error.rcvd.code == 1007, error
        else:
            raise AssertionError("it was taken")

    await reflected(talk, compression=None)
    # And when that is known only once it is inflated.

    async def talk_compressed(socket):
        await socket.send(b"\xff" * 2000, text=True)
        try:
            await socket.recv()
        except ConnectionClosedError as error:
            assert error.rcvd.code == 1007, error
        else:
            raise AssertionError("it was taken")

    await reflected(talk_compressed)


async def check_a_bomb_is_refused_with_1009():
    async def talk(socket):
        await socket.send(bytes(17 << 20))
        try:
            await socket.recv()
        except ConnectionClosedError as error:
            assert error.rcvd.code == 1009, error
        else:
            raise AssertionError("it was taken")

    await reflected(talk)


async def check_many_connections_echo():
    async def echo(socket):
        try:
            async for message in socket:
                await socket.send(message)
        except ConnectionClosedOK:
            pass

    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for extra in [[], ["--deflate", "--size", "2000"], ["--binary", "--depth", "10"]]:
            code, out, told = await wsload("echo", f"ws://127.0.0.1:{port}/", "--connections", "50", "--seconds", "1",
                                           *extra)
            assert code == 0, told
            assert "connections 50 of 50" in out and ", 0 lost" in out and ", 0 failed" in out, out


async def check_a_refusal_is_told():
    async with serve(say_all, "127.0.0.1", 0, process_request=lambda socket, _: socket.respond(403, "no\n")) as server:
        port = server.sockets[0].getsockname()[1]
        code, _, told = await wsload("reflect", f"ws://127.0.0.1:{port}/")
        assert code == 1 and "403" in told, (code, told)


async def talk_with_node(url, *arguments, certificate=()):
    process = await asyncio.create_subprocess_exec("node", str(HERE / "ws_server.mjs"), *certificate,
                                                   stdout=asyncio.subprocess.PIPE)
    try:
        port = int(await process.stdout.readline())
        for talk in ["plain", "compressed", "forgetful"]:
            code, _, told = await wsload("reflect", f"{url}:{port}/{talk}", *arguments)
            assert code == 0, told
            said = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert said == b"ok\n", (talk, said)
    finally:
        process.terminate()
        await process.wait()


async def check_node_s_ws_gets_back_what_it_says():
    await talk_with_node("ws://127.0.0.1")


async def check_node_s_ws_by_tls_gets_back_what_it_says():
    with certificate() as (key, file):
        await talk_with_node("wss://localhost", "--ca", file, certificate=(key, file))


def main():
    failed = 0
    for name, check in list(globals().items()):
        if not name.startswith("check_"):
            continue
        sentence = name.removeprefix("check_").replace("_", " ")
        try:
            asyncio.run(check())
        except Exception:
            failed += 1
            print(f"FAILED  {sentence}\n{traceback.format_exc()}")
        else:
            print(f"ok      {sentence}")
    sys.exit(1 if failed else 0)


main()
