#!/bin/sh
# Gives the process the secrets that the orchestrator mounted as files, then becomes `audit`.
#
# For each NAME below, NAME_FILE may say where its value is. The value is in the environment of this
# one process only: not in the compose file, not in the image, not in `docker inspect`, not in any
# process's arguments.
set -eu

# What is written from here on - keys, policy, blobs - is for this user alone.
umask 077

for name in AUDIT_KEY_PASSPHRASE PGPASSWORD AUDIT_KAFKA_SASL_PASSWORD \
  AUDIT_KAFKA_SSL_KEY_PASSWORD AUDIT_REGISTRY_PASSWORD; do
  eval "file=\${${name}_FILE:-}"
  [ -n "$file" ] || continue
  if [ ! -r "$file" ]; then
    echo "attestory: cannot read $file, which ${name}_FILE names; see deploy/runbook.md, Secrets" >&2
    exit 3
  fi
  # Command substitution drops the line feed that editors leave at the end.
  value=$(cat "$file")
  if [ -z "$value" ]; then
    echo "attestory: $file, which ${name}_FILE names, is empty" >&2
    exit 3
  fi
  export "$name=$value"
  unset "${name}_FILE" value
done

# exec: the signals of `docker stop` reach the command itself.
case "${1:-}" in
  setup | checkpoints)
    script=$1
    shift
    exec python "${ATTESTORY_SCRIPTS:-/usr/local/lib/attestory}/$script.py" "$@"
    ;;
  *) exec audit "$@" ;;
esac
