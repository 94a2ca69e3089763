"""compose.yaml: its structure, and what we ask of every service in it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.support import DEPLOY, env_file, interpolate, load_yaml, variables

COMPOSE = load_yaml("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"roles", "setup"}
TOOLS = {"audit", "auditor"}
STAYING = SERVICES.keys() - ONE_SHOT - TOOLS
OURS = {name for name, service in SERVICES.items() if "build" in service}
THEIRS = SERVICES.keys() - OURS

SERVICE_KEYS = {
    *(
        "build",
        "cap_drop",
        "command",
        "depends_on",
        "deploy",
        "entrypoint",
        "environment",
        "expose",
    ),
    *("healthcheck", "image", "init", "logging", "mem_limit", "ports", "profiles", "read_only"),
    *("restart", "secrets", "security_opt", "shm_size", "stop_grace_period", "tmpfs", "user"),
    "volumes",
}
SECRET = re.compile(r"password|passphrase|secret|token", re.IGNORECASE)

each_service = pytest.mark.parametrize("name", SERVICES)


def profiles(name: str) -> set[str]:
    return set(SERVICES[name].get("profiles", []))


def test_what_stands_there_is_what_compose_knows() -> None:
    own = {name for name in COMPOSE if name.startswith("x-")}
    assert COMPOSE.keys() - own == {"name", "services", "volumes", "secrets"}
    for name, service in SERVICES.items():
        assert service.keys() <= SERVICE_KEYS, name


def test_what_starts_by_default_and_what_by_profile() -> None:
    assert {name for name in SERVICES if not profiles(name)} == {
        *("kafka", "postgres", "roles", "setup", "consumer")
    }
    named = {name: profiles(name) for name in SERVICES if profiles(name)}
    assert named == {
        "consumer-more": {"scale"},
        "prometheus": {"observe"},
        "grafana": {"observe"},
        "audit": {"tools"},
        "auditor": {"tools"},
    }


@each_service
def test_an_image_is_pinned_by_version(name: str) -> None:
    image = SERVICES[name]["image"]
    if name in OURS:
        assert image == "${AUDIT_IMAGE:-attestory:local}"
        assert (DEPLOY / SERVICES[name]["build"]["context"]).resolve() == DEPLOY.parent
        assert (DEPLOY.parent / SERVICES[name]["build"]["dockerfile"]).is_file()
    else:
        assert re.fullmatch(r"[a-z]+(?:/[a-z]+)?:v?\d+\.\d+(?:\.\d+)?(?:-[a-z]+)?", image)


def test_kafka_is_the_one_that_is_tested_with() -> None:
    pom = (DEPLOY.parent / "tests" / "services" / "kafka-pom.xml").read_text()
    version = re.search(r"<service\.version>([\d.]+)<", pom)
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"


@each_service
def test_a_service_that_stays_says_whether_it_is_well(name: str) -> None:
    check = SERVICES[name].get("healthcheck")
    if name in STAYING:
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert check.keys() == {"test", "interval", "timeout", "start_period", "retries"}
        assert SERVICES[name]["restart"] == "unless-stopped"
    else:
        # The image has a check of its own, for consumers.
        assert check == ({"disable": True} if name in OURS else None)
        assert SERVICES[name]["restart"] == "no"


def test_who_waits_for_whom() -> None:
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    healthy, completed = "service_healthy", "service_completed_successfully"
    assert waits["roles"] == {"postgres": healthy}
    assert waits["setup"] == {"kafka": healthy, "roles": completed}
    assert waits["consumer"] == {"kafka": healthy, "postgres": healthy, "setup": completed}
    assert waits["consumer-more"] == waits["consumer"]
    for name, others in waits.items():
        for other, how in others.items():
            assert how == (completed if other in ONE_SHOT else healthy)
            # A service of another profile would be started along, or be missing.
            assert profiles(other) <= profiles(name)


def test_volumes_and_secrets_are_declared_and_used() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    sources = {mount.partition(":")[0] for mount in mounts if mount[0] not in "./$"}
    assert sources == COMPOSE["volumes"].keys()
    used = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert used == COMPOSE["secrets"].keys()
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    ignored = (DEPLOY / ".gitignore").read_text().splitlines()
    assert {"/secrets/", "/.env"} <= set(ignored)


@each_service
def test_what_is_mounted_from_here_exists_and_is_read_only(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        if mount.startswith("./"):
            source, _, how = mount.split(":")
            assert (DEPLOY / source).exists()
            assert how == "ro"


@each_service
def test_no_secret_is_in_the_file(name: str) -> None:
    service = SERVICES[name]
    mounted = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
    for variable, value in service.get("environment", {}).items():
        assert isinstance(value, str), f"{variable}: quote it"
        if SECRET.search(variable):
            assert variable.endswith("_FILE") and value in mounted
        assert not re.search(r"://[^/@]*:[^/@]*@", value), "a URL with a password"
    named = {value for value in service.get("environment", {}).values() if value in mounted}
    # roles.sh takes all from the folder.
    assert named == mounted or name == "roles"


def test_each_role_has_only_what_it_needs() -> None:
    def user(name: str) -> str:
        return SERVICES[name]["environment"]["AUDIT_STORE"].partition("//")[2].partition("@")[0]

    assert {name: user(name) for name in OURS} == {
        "setup": "audit_owner",
        "consumer": "audit_writer",
        "consumer-more": "audit_writer",
        "audit": "audit_writer",
        "auditor": "audit_auditor",
    }
    roles = (DEPLOY / "roles.sql").read_text()
    assert all(user(name) in roles for name in OURS)
    keys = {name for name in OURS if any("-key" in m for m in SERVICES[name]["volumes"])}
    assert keys == OURS - {"auditor"}
    writable = {n for n in keys if "key:/var/lib/attestory-key" in SERVICES[n]["volumes"]}
    assert writable == {"setup"}
    assert "ledger:/var/lib/attestory:ro" in SERVICES["auditor"]["volumes"]


def test_our_containers_have_no_rights_to_spare() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service and "user" not in service
        # All that is written goes into volumes; temporary files into memory.
        assert service["tmpfs"] == ["/tmp:mode=1777"]


@each_service
def test_ports_are_for_this_machine_unless_somebody_says_otherwise(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"\$\{BIND_ADDRESS:-127\.0\.0\.1\}:\$\{[A-Z_]+:-\d+\}:\d+", port)


def test_more_consumers_are_the_same_as_the_first() -> None:
    more = {k: v for k, v in SERVICES["consumer-more"].items() if k not in ("profiles", "deploy")}
    assert more == SERVICES["consumer"]
    assert SERVICES["consumer-more"]["deploy"].keys() == {"replicas"}


@each_service
def test_log_files_do_not_fill_the_disk(name: str) -> None:
    assert SERVICES[name]["logging"]["options"].keys() == {"max-size", "max-file"}


def test_kafka_is_one_node_that_loses_nothing_by_its_settings() -> None:
    settings = interpolate(SERVICES["kafka"]["environment"], {})
    assert settings["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert settings["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    data = settings["KAFKA_LOG_DIRS"]
    assert f"kafka:{data}" in SERVICES["kafka"]["volumes"]
    assert int(settings["KAFKA_LOG_RETENTION_HOURS"]) >= 24 * 7
    names = [listener.partition(":")[0] for listener in settings["KAFKA_LISTENERS"].split(",")]
    mapped = settings["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    assert sorted(names) == sorted(pair.partition(":")[0] for pair in mapped)
    advertised = settings["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert {one.partition(":")[0] for one in advertised} == {"INSIDE", "OUTSIDE"}
    assert f"@kafka:{settings['KAFKA_LISTENERS'].rpartition(':')[2]}" in str(settings)
    bus = SERVICES["consumer"]["environment"]["AUDIT_BUS"]
    assert f"INSIDE://{bus.split('/')[2]}" in advertised
    assert len(settings["CLUSTER_ID"]) == 22


def test_grafana_finds_datasource_and_dashboard() -> None:
    datasources = load_yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    [source] = datasources
    assert source["url"] == "http://prometheus:9090"
    [provider] = load_yaml("grafana/provisioning/dashboards/attestory.yaml")["providers"]
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana" / "dashboards" / Path(home).name).is_file()


def test_a_name_for_the_ledger_is_all_that_must_be_given() -> None:
    text = re.sub(r"^\s*#.*$", "", (DEPLOY / "compose.yaml").read_text(), flags=re.MULTILINE)
    required = {variable.name for variable in variables(text) if variable.required}
    assert required == {"AUDIT_ORIGIN"}
    with pytest.raises(KeyError):
        interpolate(SERVICES, {})
    assert interpolate(SERVICES, env_file(".env.example"))


def compose_plugin() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not compose_plugin(), reason="docker compose is not installed")
def test_docker_compose_reads_it(tmp_path: Path) -> None:
    command = ["docker", "compose", "--env-file", str(DEPLOY / ".env.example")]
    for name in ("scale", "observe", "tools"):
        command += ["--profile", name]
    done = subprocess.run(
        [*command, "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
