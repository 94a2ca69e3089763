"""Other people's implementations, built and started once per test session."""

import json
import os
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def skip_or_fail(reason):
    """Without a service a test is skipped, unless the machine is one that must have it."""
    if os.environ.get("AUDIT_REQUIRE_SERVICES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class Peer:
    """The Go program beside this file: a JSON request a line, a JSON answer a line."""

    def __init__(self, program):
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, op, **arguments):
        """The answer, or {"error": what the library said}. Bytes travel as base64."""
        self.process.stdin.write(json.dumps({"op": op, **arguments}, default=_encode) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _encode(value):
    return b64encode(value).decode()


@pytest.fixture(scope="session")
def go_environment():
    if shutil.which("go") is None:
        skip_or_fail("go is not installed: nothing to compare with")
    # The toolchain that is there, and no build stamp: the folder may not be a checkout.
    return {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-buildvcs=false -mod=readonly",
    }


@pytest.fixture(scope="session")
def go_peer(go_environment, tmp_path_factory):
    program = tmp_path_factory.mktemp("interop") / "peer"
    built = subprocess.run(
        ["go", "build", "-o", str(program), "."],
        cwd=HERE, env=go_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if built.returncode:
        skip_or_fail("the Go peer cannot be built: " + built.stderr.strip()[-300:])
    peer = Peer(str(program))
    yield peer
    peer.close()


@pytest.fixture(scope="session")
def merkle_vectors(go_environment):
    """The folder `testdata` of transparency-dev/merkle.

    AUDIT_MERKLE_TESTDATA names it in a checkout; otherwise it is looked for in the Go module.
    """
    named = os.environ.get("AUDIT_MERKLE_TESTDATA")
    if named:
        folder = Path(named)
        if not (folder / "inclusion").is_dir():
            pytest.fail(f"AUDIT_MERKLE_TESTDATA={named} has no folder inclusion", pytrace=False)
        return folder
    listed = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", "github.com/transparency-dev/merkle"],
        cwd=HERE, env=go_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode or not listed.stdout.strip():
        skip_or_fail("the Go module of merkle is not there: " + listed.stderr.strip()[-300:])
    folder = Path(listed.stdout.strip()) / "testdata"
    if not folder.is_dir():
        # Never a failure: no release up to v0.0.2 has the folder, whatever machine this is.
        pytest.skip("merkle's release has no testdata: set AUDIT_MERKLE_TESTDATA to a checkout's")
    return folder
