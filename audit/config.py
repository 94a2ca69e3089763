"""Settings of the entry points: the file `audit.toml` and the environment; the environment wins.

The file lies in the current folder and has, at its top level, the settings' names in lower case
without `AUDIT_`::

    store = "sqlite:///ledger/audit.db"
    policy = "auditors/audit.policy"

Only entry points import this module (a quarter of a second goes into its library), and only when
there is a file: without one, the environment is all there is, and each floor reads its own part.
"""

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from audit.errors import InvalidInput, LimitExceeded, Unavailable

CONFIG_FILE = "audit.toml"
MAX_CONFIG_BYTES = 100_000
"""Largest settings file that is read."""


class Settings(BaseSettings):
    """What may be set. None: the default of INTERFACE, beside the store.

    `store`, `bus`, `blobs` are URLs; `key`, `policy`, `spool` paths; relative ones are meant from
    the current folder. `read_model` is a folder, or `off`.
    """

    model_config = SettingsConfigDict(
        env_prefix="AUDIT_", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    store: str | None = Field(default=None, min_length=1)
    bus: str | None = Field(default=None, min_length=1)
    key: Path | None = None
    key_passphrase: SecretStr | None = None
    spool: Path | None = None
    policy: Path | None = None
    blobs: str | None = Field(default=None, min_length=1)
    read_model: str | None = Field(default=None, min_length=1)

    @property
    def passphrase(self) -> str | None:
        """The key's passphrase in clear: for the one call that opens the key file."""
        return None if self.key_passphrase is None else self.key_passphrase.get_secret_value()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what `load_settings` read from the file; nothing else."""
        return env_settings, init_settings


def load_settings(path: Path = Path(CONFIG_FILE)) -> Settings:
    """The settings of the file and the environment; of the environment alone without a file.

    Raises InvalidInput for a key that is not known or a value of the wrong type, LimitExceeded,
    Unavailable when the file is there and cannot be read. No message holds a value: one may be a
    passphrase.
    """
    given = _read(path)
    unknown = sorted(given.keys() - Settings.model_fields.keys())
    if unknown:
        raise InvalidInput(_unknown(path, unknown[0]))
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "a setting"
        raise InvalidInput(
            f"{path} or AUDIT_{name.upper()}: {name} is not usable: {first['msg']}"
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise LimitExceeded(f"{path} is over {MAX_CONFIG_BYTES} bytes")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path} is not TOML: {error}") from None
    except RecursionError:
        raise LimitExceeded(f"{path} is nested too deeply") from None


def _unknown(path: Path, name: str) -> str:
    known = sorted(Settings.model_fields)
    close = get_close_matches(name.lower().removeprefix("audit_"), known, 1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"{path}: there is no setting {name[:80]!r}\n{hint}"
