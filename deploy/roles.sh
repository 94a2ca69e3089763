#!/bin/sh
# Makes the database's roles as roles.sql says and gives each its password. Safe to repeat: also what
# is done after a password changed, or a database was restored.
#
# PGHOST, PGUSER (a superuser) and PGDATABASE say where; SECRETS_DIR has the files.
set -eu

here=${ROLES_SQL:-/usr/local/lib/attestory/roles.sql}
SECRETS_DIR=${SECRETS_DIR:-/run/secrets}
export SECRETS_DIR

for file in postgres owner writer auditor; do
  if [ ! -s "$SECRETS_DIR/${file}_password" ]; then
    echo "roles: $SECRETS_DIR/${file}_password is missing, empty or not readable; see runbook.md, Secrets" >&2
    exit 3
  fi
done
PGPASSWORD=$(cat "$SECRETS_DIR/postgres_password")
export PGPASSWORD

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --file "$here"

# psql reads the files itself: a password in an argument would be in the process list. The server
# is told not to write these statements to its log.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 <<'SQL'
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET password_encryption = 'scram-sha-256';
\set secret `cat "$SECRETS_DIR/owner_password"`
ALTER ROLE audit_owner PASSWORD :'secret';
\set secret `cat "$SECRETS_DIR/writer_password"`
ALTER ROLE audit_writer PASSWORD :'secret';
\set secret `cat "$SECRETS_DIR/auditor_password"`
ALTER ROLE audit_auditor PASSWORD :'secret';
SQL
echo "roles: audit_owner, audit_writer and audit_auditor are as they should be"
