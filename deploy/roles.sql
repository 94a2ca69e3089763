-- Who may do what in a ledger's database. Plain SQL, to be run in that database by a superuser:
--
--   psql -d audit -f roles.sql
--
-- once before `audit init`, and again whenever you like: it makes what is missing, and takes away
-- what is too much. Passwords are not in here: give each role one with ALTER ROLE .. PASSWORD.
--
--   audit_owner    makes and upgrades the tables: `audit init`, and nothing day by day
--   audit_writer   appends: INSERT and SELECT; UPDATE on `leases` alone, which is no evidence
--   audit_auditor  reads and verifies: SELECT
--
-- The writer can neither change nor delete what is recorded, nor switch off what guards it. The
-- owner and a superuser can: that is what signed checkpoints, kept elsewhere, are for.

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['audit_owner', 'audit_writer', 'audit_auditor'] LOOP
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = name) THEN
      EXECUTE format('CREATE ROLE %I LOGIN', name);
    END IF;
    EXECUTE format(
      'ALTER ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', name);
  END LOOP;
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC, audit_writer, audit_auditor;
GRANT USAGE ON SCHEMA public TO audit_writer, audit_auditor;
GRANT USAGE, CREATE ON SCHEMA public TO audit_owner;

-- For the tables that `audit init` and upgrades will make. Whoever may insert leases is given the
-- right to update them by `audit init` itself.
ALTER DEFAULT PRIVILEGES FOR ROLE audit_owner IN SCHEMA public
  GRANT SELECT, INSERT ON TABLES TO audit_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE audit_owner IN SCHEMA public
  GRANT SELECT ON TABLES TO audit_auditor;

-- For those that are there.
DO $$
DECLARE
  relation regclass;
BEGIN
  FOR relation IN
    SELECT c.oid FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
       AND r.rolname = 'audit_owner'
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, audit_writer, audit_auditor', relation);
    EXECUTE format('GRANT SELECT ON %s TO audit_writer, audit_auditor', relation);
    EXECUTE format('GRANT INSERT ON %s TO audit_writer', relation);
  END LOOP;
  IF to_regclass('public.leases') IS NOT NULL THEN
    GRANT UPDATE ON public.leases TO audit_writer;
  END IF;
END
$$;

-- Where the extension is there, the auditor may have the server look into each index, page by page.
-- Without it `audit verify` compares each index with its table by reading both.
--
--   CREATE EXTENSION amcheck;
--   GRANT EXECUTE ON FUNCTION bt_index_check(regclass, boolean) TO audit_auditor;
