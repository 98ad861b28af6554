"""Becomes upstream's program or ours, by the name of the part whose configuration file it is given.

Started by a cluster in place of ``praefect`` and ``praefect-node``::

    upstream_launcher.py node gitaly-1,gitaly-3 serve .../gitaly-1/config.toml
    upstream_launcher.py praefect praefect-2 -config .../praefect-2/config.toml sql-migrate

A node gets a file of upstream's keys beside its own one, or our keys and the common git.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path


def main() -> None:
    kind, names, *words = sys.argv[1:]
    config = Path(next(word for word in words if word.endswith("/config.toml")))
    is_upstreams = config.parent.name in names.split(",")
    if kind == "praefect":
        command = [os.environ["PRAEFECT_UPSTREAM_PRAEFECT"]] if is_upstreams else _ours("main")
        os.execvp(command[0], [*command, *words])
    git = os.environ.get("PRAEFECT_UPSTREAM_GIT", "")
    if is_upstreams:
        program = os.environ["PRAEFECT_UPSTREAM_GITALY"]
        if git:
            os.environ["GITALY_TESTING_GIT_BINARY"] = git  # in place of the copy that its own build packs into it
        os.execvp(program, [program, "serve", str(_upstreams_file(config))])
    os.execvp(sys.executable, [*_ours("node"), "serve", str(_our_file(config, git))])


def _ours(module: str) -> list[str]:
    return [sys.executable, "-m", f"praefect.cli.{module}"]


def _our_file(config: Path, git: str) -> Path:
    if not git:
        return config
    return _write(config, "ours.toml", config.read_text() + f"\n[git]\nexecutable = {json.dumps(git)}\n")


def _upstreams_file(config: Path) -> Path:
    values = tomllib.loads(config.read_text())
    storage = values["storage"][0]
    lines = [
        f"listen_addr = {json.dumps(values['listen_addr'])}",
        f"bin_dir = {json.dumps(str(Path(os.environ['PRAEFECT_UPSTREAM_GITALY']).parent))}",
        f"runtime_dir = {json.dumps(values['runtime_dir'])}",
        f"[auth]\ntoken = {json.dumps(values['auth']['token'])}",
        '[logging]\nformat = "json"\nlevel = "info"',
        f"[gitlab]\nurl = {json.dumps(values['gitlab']['url'])}\nsecret = {json.dumps(values['gitlab']['secret'])}",
        f"[[storage]]\nname = {json.dumps(storage['name'])}\npath = {json.dumps(storage['path'])}",
    ]
    return _write(config, "upstream.toml", "\n".join(lines) + "\n")


def _write(config: Path, name: str, text: str) -> Path:
    path = config.with_name(name)
    path.touch(mode=0o600)
    path.write_text(text)
    return path


if __name__ == "__main__":
    main()
