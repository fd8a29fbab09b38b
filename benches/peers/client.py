#!/usr/bin/env python3
"""The clients of src/bin/client.rs against one nginx, in turns, each round every client once.

    benches/peers/client.py [--rounds 5] [--requests 20000] [--at-a-time 1 32] [--bytes 100 10000] [--core N]

What counts is the CPU time of the client's process for each request, user and system, the median of the rounds. Needs
nginx and a release build of this package. Everything is on loopback and ends with this program.
"""
import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = ["tourbillon", "reqwest", "hyper", "hyper-conn"]

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port):
    for _ in range(100):
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("nginx does not answer")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--requests", type=int, default=20_000)
    arguments.add_argument("--at-a-time", type=int, nargs="+", default=[1, 32])
    arguments.add_argument("--bytes", type=int, nargs="+", default=[100, 10_000])
    arguments.add_argument("--core", type=int, help="pin the clients to this core, nginx to another")
    options = arguments.parse_args()
    client = HERE / "target/release/client"
    if not client.exists():
        raise SystemExit(f"build it first: cargo build --release --manifest-path {HERE}/Cargo.toml")

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        files = pathlib.Path(folder, "files")
        files.mkdir()
        for size in options.bytes:
            (files / str(size)).write_bytes(b"x" * size)
        port = free_port()
        config = pathlib.Path(folder, "nginx.conf")
        config.write_text(NGINX.format(folder=folder, port=port))
        pin = []
        if options.core is not None:
            others = [core for core in range(os.cpu_count()) if core != options.core]
            pin = ["taskset", "-c", str(options.core)]
            nginx_pin = ["taskset", "-c", str(others[0])] if others else []
        else:
            nginx_pin = []
        nginx = subprocess.Popen([*nginx_pin, "nginx", "-p", folder, "-c", str(config)])
        try:
            wait_for(port)
            print(f"{'body':>7} {'at a time':>9}  " + "".join(f"{name:>12}" for name in CLIENTS) + "   µs of CPU a request")
            for size in options.bytes:
                for at_a_time in options.at_a_time:
                    costs = {name: [] for name in CLIENTS}
                    for round_number in range(options.rounds):
                        # Another one begins each round, so that none always has the warm or the cold place.
                        first = round_number % len(CLIENTS)
                        for name in CLIENTS[first:] + CLIENTS[:first]:
                            out = subprocess.run(
                                [*pin, str(client), name, f"http://127.0.0.1:{port}/{size}", str(options.requests), str(at_a_time)],
                                check=True, capture_output=True, text=True, timeout=300,
                            ).stdout
                            result = json.loads(out)
                            assert result["bytes"] == size * options.requests, result
                            costs[name].append(result["cpu_us"])
                    print(f"{size:>7} {at_a_time:>9}  " + "".join(f"{statistics.median(costs[name]):>12.2f}" for name in CLIENTS), flush=True)
        finally:
            nginx.terminate()
            nginx.wait(10)


main()
