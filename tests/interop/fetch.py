"""The client, as the example `fetch`, against servers that we did not write: nginx, Python's http.server, aiohttp, Node.

`FETCH` is the program; else the release build. Each check is a sentence, as in `checks.py`, which is for the other
direction.
"""
import hashlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).parent
FETCH = os.environ.get("FETCH", str(HERE.parent.parent / "target/release/examples/fetch"))
LARGE = os.urandom(8 << 20)

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 50;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/www;
    location = /hello {{ return 200 "hello"; }}
    location = /empty {{ return 204; }}
    location = /moved {{ return 301 /hello; }}
    location = /loop {{ return 302 /loop; }}
    location = /agent {{ return 200 "$http_user_agent $http_host"; }}
    location = /teapot {{ return 418 "no coffee"; }}
  }}
}}
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(command, port, folder):
    server = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    for _ in range(200):
        if server.poll() is not None:
            sys.exit(f"{command[0]} ended with {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.05)
    server.kill()
    sys.exit(f"{command[0]} does not listen on {port}")


def fetch(url, *options):
    done = subprocess.run([FETCH, url, *options], capture_output=True, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


def body(url, *options, status=200):
    code, out, told = fetch(url, *options)
    assert code == 0, told
    head, _, rest = out.partition(b"\n")
    assert int(head) == status, head
    return rest


def fails(url, kind, *options):
    code, _, told = fetch(url, *options)
    assert code == 1 and told.startswith(f"fetch: {kind}: "), (code, told)
    return told


def check_nginx_files_of_all_sizes_are_whole(nginx):
    for size in [0, 1, 4095, 65536, 65537, 1 << 20, 8 << 20]:
        (nginx.folder / "www" / "file").write_bytes(LARGE[:size])
        got = hashlib.sha256(body(f"{nginx.url}/file")).digest()
        assert got == hashlib.sha256(LARGE[:size]).digest(), size


def check_nginx_says_what_its_statuses_say(nginx):
    assert body(f"{nginx.url}/hello") == b"hello"
    assert body(f"{nginx.url}/hello", "--head") == b""
    assert body(f"{nginx.url}/empty", status=204) == b""
    assert body(f"{nginx.url}/teapot", status=418) == b"no coffee"
    assert b"404 Not Found" in body(f"{nginx.url}/nowhere", status=404)
    assert body(f"{nginx.url}/agent").startswith(b"tourbillon/")


def check_nginx_keeps_a_connection_for_as_many_requests_as_it_likes(nginx):
    code, out, told = fetch(f"{nginx.url}/hello", "--repeat", "500")
    assert code == 0 and out == b"200 5\n" * 500, told


def check_nginx_redirects_are_followed_and_loops_are_not(nginx):
    assert body(f"{nginx.url}/moved") == b"hello"
    fails(f"{nginx.url}/loop", "RedirectError")


def check_nginx_gets_a_path_as_a_person_writes_it(nginx):
    (nginx.folder / "www" / "ä b").write_bytes(b"found")
    assert body(f"{nginx.url}/x/../ä b") == b"found"


def check_http_server_ends_bodies_by_closing(python):
    (python.folder / "sub" / "file").write_bytes(LARGE[:100_000])
    assert body(f"{python.url}/sub/file") == LARGE[:100_000]
    code, out, told = fetch(f"{python.url}/sub/file", "--repeat", "20")
    assert code == 0 and out == b"200 100000\n" * 20, told
    assert b"File not found" in body(f"{python.url}/nowhere", status=404)


def check_http_server_redirects_to_a_folder(python):
    assert b"Directory listing for /sub/" in body(f"{python.url}/sub")


def check_aiohttp_streams_in_chunks(aiohttp):
    want = b"".join(b"%03d\n" % n for n in range(100))
    assert body(f"{aiohttp.url}/stream") == want
    code, out, told = fetch(f"{aiohttp.url}/stream", "--repeat", "20")
    assert code == 0 and out == b"200 400\n" * 20, told


def check_aiohttp_redirects_are_followed_up_to_ten(aiohttp):
    assert body(f"{aiohttp.url}/redirect/10") == b"xxxxx"
    fails(f"{aiohttp.url}/redirect/11", "RedirectError")


def check_aiohttp_may_close_behind_each_answer(aiohttp):
    code, out, told = fetch(f"{aiohttp.url}/closing", "--repeat", "20")
    assert code == 0 and out == b"200 10\n" * 20, told


def check_aiohttp_that_is_slow_is_given_up(aiohttp):
    began = time.monotonic()
    told = fails(f"{aiohttp.url}/slow", "TimeoutError", "--timeout", "0.3")
    assert "waiting for the response" in told and time.monotonic() - began < 5


def check_node_s_chunks_trailers_and_hints_are_read(node):
    want = b"".join(b"%03d\n" % n for n in range(100))
    assert body(f"{node.url}/stream") == want
    assert body(f"{node.url}/early") == b"after hints"
    assert body(f"{node.url}/redirect/") == b"xxxxxxx"
    assert body(f"{node.url}/bytes/3000000") == b"x" * 3_000_000


def check_node_sees_one_connection_for_a_hundred_requests(node):
    before = int(body(f"{node.url}/connections"))
    assert fetch(f"{node.url}/bytes/10", "--repeat", "100")[1] == b"200 10\n" * 100
    # One for the hundred, one to ask.
    assert int(body(f"{node.url}/connections")) == before + 2


def check_node_that_breaks_off_is_an_error(node):
    told = fails(f"{node.url}/cut", "ProtocolError")
    assert "while reading the body" in told, told


class Site:
    def __init__(self, command, folder):
        self.port, self.folder = free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = start(command(self.port), self.port, folder)


def main():
    sites, failed = {}, 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "www").mkdir()
        (folder / "python" / "sub").mkdir(parents=True)
        # Its workers may be another user's.
        folder.chmod(0o755)

        def nginx(port):
            (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
            return ["nginx", "-p", name, "-e", f"{name}/error.log", "-c", f"{name}/nginx.conf"]

        try:
            sites["nginx"] = Site(nginx, folder)
            python = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1"]
            sites["python"] = Site(lambda port: [*python, str(port)], folder / "python")
            aiohttp = [sys.executable, str(HERE / "aiohttp_server.py")]
            sites["aiohttp"] = Site(lambda port: [*aiohttp, str(port)], folder)
            sites["node"] = Site(lambda port: ["node", str(HERE / "node_server.mjs"), str(port)], folder)
            for name, check in list(globals().items()):
                if not name.startswith("check_"):
                    continue
                sentence = name.removeprefix("check_").replace("_", " ")
                try:
                    check(*(sites[argument] for argument in check.__code__.co_varnames[:check.__code__.co_argcount]))
                except Exception:
                    failed += 1
                    print(f"FAILED  {sentence}\n{traceback.format_exc()}")
                else:
                    print(f"ok      {sentence}")
        finally:
            for site in sites.values():
                site.server.terminate()
                site.server.wait()
    sys.exit(1 if failed else 0)


main()
