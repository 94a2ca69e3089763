"""Looks at the files of a TLS connection before a client does: clients only time out on them."""

import ssl

from audit.errors import InvalidInput
from audit.kafka.address import KafkaAddress


def check_files(address: KafkaAddress) -> None:
    """Raise InvalidInput that names the setting whose file cannot be read or does not fit."""
    settings = address.security
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        if name in settings:
            try:
                with open(settings[name], "rb") as file:
                    file.read(1)
            except OSError as error:
                raise InvalidInput(f"cannot read {name} of Kafka: {error.strerror}") from None
    try:
        if "ssl_cafile" in settings:
            ssl.create_default_context(cafile=settings["ssl_cafile"])
    except ssl.SSLError:
        raise InvalidInput("ssl_cafile of Kafka holds no certificates in PEM form") from None
    if "ssl_certfile" in settings:
        password = settings.get("ssl_key_password", "")
        try:
            # Without a password it must not ask for one on the terminal.
            ssl.create_default_context().load_cert_chain(
                settings["ssl_certfile"], settings.get("ssl_keyfile"), lambda: password
            )
        except (ssl.SSLError, ValueError):
            raise InvalidInput(
                "ssl_certfile and ssl_keyfile of Kafka do not fit together\n"
                "or AUDIT_KAFKA_SSL_KEY_PASSWORD is wrong or missing"
            ) from None
