"""Lets the runner of github.com/WebAssembly/wasi-testsuite run its tests in Wherry's sandbox.

    python3 run-tests -r wherry.py        (their runner, this file)

WHERRY names the command, "wherry" by default. What runs is `wherry wasm run`, which is the sandbox of a pod.
The runner has called its adapters in three ways over the years; all of them are here.
"""

import argparse
import os
import shlex
import subprocess
import sys

WHERRY = shlex.split(os.getenv("WHERRY", "wherry"))


def get_name():
    return "wherry"


def get_version():
    done = subprocess.run(WHERRY[0:1] + ["version", "--client"], encoding="UTF-8", capture_output=True, check=True)
    return done.stdout.split()[-1]


def get_wasi_versions():
    return ["wasm32-wasip1"]


def get_wasi_worlds():
    return ["wasi:cli/command"]


def compute_argv(test_path, *rest):
    """rest begins with args, env, dirs, or with one tuple of them; dirs are pairs of host and guest, or the root."""
    args, env, dirs = rest[0] if isinstance(rest[0], tuple) else rest[0:3]
    if dirs is None:
        dirs = []
    elif isinstance(dirs, (str, os.PathLike)):
        dirs = [(dirs, "/")]
    argv = WHERRY + ["wasm", "run"]
    for name, value in env.items():
        argv += ["--env", f"{name}={value}"]
    for host, guest in dirs:
        argv += ["--dir", f"{host}::{guest}"]
    return argv + [str(test_path), "--"] + list(args)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--test-file")
    for name in ("--arg", "--env", "--dir"):
        parser.add_argument(name, action="append", default=[])
    given = parser.parse_args()
    if given.version:
        print(get_name(), get_version())
        return 0
    env = dict(pair.split("=", 1) for pair in given.env)
    dirs = [(directory, directory) for directory in given.dir]
    return subprocess.run(compute_argv(given.test_file, given.arg, env, dirs)).returncode


if __name__ == "__main__":
    sys.exit(main())
