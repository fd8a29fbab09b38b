"""aiohttp's server, for the client: `python aiohttp_server.py PORT`."""
import asyncio
import sys

from aiohttp import web


async def stream(request):
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for n in range(100):
        await response.write(b"%03d\n" % n)
        if n % 10 == 0:
            await asyncio.sleep(0.001)
    await response.write_eof()
    return response


async def redirect(request):
    left = int(request.match_info["left"])
    raise web.HTTPFound(f"/redirect/{left - 1}" if left > 1 else "/bytes/5")


async def sized(request):
    return web.Response(body=b"x" * int(request.match_info["n"]))


async def slow(request):
    await asyncio.sleep(60)


async def closing(request):
    response = web.Response(body=b"and closes")
    response.force_close()
    return response


def app():
    site = web.Application()
    site.add_routes([
        web.get("/stream", stream),
        web.get("/redirect/{left}", redirect),
        web.get("/bytes/{n}", sized),
        web.get("/slow", slow),
        web.get("/closing", closing),
    ])
    return site


if __name__ == "__main__":
    web.run_app(app(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
