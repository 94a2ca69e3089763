"""Containers of compose.yaml without Docker: the same command with the same environment, here.

Only what a container would find elsewhere is replaced: the servers' names, the folders that are
volumes, the files that are secrets, and the port on which it listens.
"""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tests.deploy.support import DEPLOY, interpolate, load_yaml

ORIGIN = "example.com/deploy"
HEALTH_PORT = "9464"
LIMIT_S = 240.0


class Outside:
    """All services of one deployment, in one folder."""

    def __init__(self, folder: Path, bootstrap: str, topic: str, database: str, port: int) -> None:
        """`database`: a superuser's URL of an empty one. `port`: for the consumer's health."""
        self.folder = folder
        self.port = port
        self.database = urlsplit(database)
        self._services = load_yaml("compose.yaml")["services"]
        self._names = {
            "kafka:19092/audit.events": f"{bootstrap}/{topic}",
            "postgres:5432/audit": self.database.netloc.rpartition("@")[2] + self.database.path,
            "/run/secrets": str(folder / "secrets"),
            "/var/lib/attestory-key": str(folder / "key"),
            "/var/lib/attestory": str(folder / "ledger"),
            "/usr/local/lib/attestory": str(DEPLOY),
            "/backup": str(folder / "backup"),
            f"0.0.0.0:{HEALTH_PORT}": f"127.0.0.1:{port}",
            f"127.0.0.1:{HEALTH_PORT}": f"127.0.0.1:{port}",
        }
        longest_first = sorted(self._names, key=len, reverse=True)
        self._named = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest_first))})")
        for name in ("secrets", "key", "ledger", "backup", "bin"):
            (folder / name).mkdir()
        for name in load_yaml("compose.yaml")["secrets"]:
            (folder / "secrets" / name).write_text(f"the {name}\n")
        superuser = os.environ.get("PGPASSWORD", "unused: the test server trusts")
        (folder / "secrets" / "postgres_password").write_text(superuser)
        for name, program in (("python", ""), ("audit", " -m audit")):
            path = folder / "bin" / name
            path.write_text(f'#!/bin/sh\nexec {sys.executable}{program} "$@"\n')
            path.chmod(0o755)

    def here(self, text: str) -> str:
        """A text of compose.yaml with what is replaced."""
        return self._named.sub(lambda match: self._names[match[0]], text)

    def environment(self, service: str, **settings: str) -> dict[str, str]:
        """What the container would have; `settings` stand for the file .env."""
        found = self._services[service]["environment"]
        given = interpolate(found, {"AUDIT_ORIGIN": ORIGIN, "AUDIT_PARTITIONS": "2", **settings})
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": os.environ["PYTHONPATH"],
            "HOME": str(self.folder / "ledger"),
            "ATTESTORY_SCRIPTS": str(DEPLOY),
            **{name: self.here(value) for name, value in given.items()},
        }

    def command(self, service: str, *instead: str) -> list[str]:
        """What the container would run, or another command in it."""
        entrypoint = self._services[service].get("entrypoint", [str(DEPLOY / "entrypoint.sh")])
        return [self.here(word) for word in [*entrypoint, *(instead or self._default(service))]]

    def _default(self, service: str) -> list[str]:
        return interpolate(self._services[service].get("command", []), {})

    def run(self, service: str, *instead: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(service, *instead),
            cwd=self.folder / "ledger",
            env=self.environment(service, **settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def roles(self) -> subprocess.CompletedProcess[str]:
        """Run the service `roles`, whose server has other coordinates here."""
        env = self.environment("roles") | {
            "PGHOST": self.database.hostname or "",
            "PGPORT": str(self.database.port),
            "PGUSER": self.database.username or "",
            "PGDATABASE": self.database.path.strip("/"),
            "SECRETS_DIR": str(self.folder / "secrets"),
            "ROLES_SQL": str(DEPLOY / "roles.sql"),
        }
        command = self.command("roles")
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT_S)

    def start(self, service: str) -> "subprocess.Popen[bytes]":
        """Start a service that stays; what it says goes into SERVICE.log."""
        with (self.folder / f"{service}.log").open("wb") as log:
            return subprocess.Popen(
                self.command(service),
                cwd=self.folder / "ledger",
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def healthcheck(self, service: str) -> int:
        """Run the service's health check; its exit code."""
        kind, *words = self._services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        command = [sys.executable if word == "python" else self.here(word) for word in words]
        return subprocess.run(command, capture_output=True, timeout=LIMIT_S).returncode

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the consumer; (0, reason) while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)
