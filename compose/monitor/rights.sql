-- Who may do what in the monitor's database. PostgreSQL lets everybody call a function unless that is taken back, and the functions of
-- pg_auto_failover act with the rights of their owner: whoever can connect could remove a database, or have one promoted.
-- The keepers, and the monitor's own programs, come as autoctl_node; what else is needed is done by the owner, in this box.

REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA pgautofailover, public FROM PUBLIC;

GRANT EXECUTE ON ALL ROUTINES IN SCHEMA pgautofailover TO autoctl_node;

GRANT EXECUTE ON FUNCTION public.stopped_at(text, int, pg_lsn) TO autoctl_node;

GRANT EXECUTE ON FUNCTION public.stand_down(text) TO autoctl_node;

GRANT EXECUTE ON FUNCTION public.forget(text) TO autoctl_node;

-- Who watches reads the tables, and calls nothing.
GRANT USAGE ON SCHEMA pgautofailover TO auditor;

GRANT SELECT ON ALL TABLES IN SCHEMA pgautofailover TO auditor;
