-- What a wall clock that is set does to the monitor, and what is done against it (docs/decisions/0036). pg_auto_failover (2.2) compares
-- wall clocks: with the instant of a database's last report, and with its own start. So does PostgreSQL's now().

-- Seconds since the machine started: the time of our own orders and deadlines. It is never set. (What was noted before the machine
-- started again may lie ahead of it: ask whether it lies BETWEEN then and now.)
CREATE FUNCTION public.uptime_s() RETURNS float8 LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT split_part(pg_read_file('/proc/uptime'), ' ', 1)::float8
$$;

-- 1. What has happened does not lie ahead. The clock is set back, and the last report of a database that has just died was not "more
-- than so long ago" for as long as the step: it would not be ill, and nobody would be promoted, or a commit would wait for it. So it was
-- just now, at the latest. Every check of its health comes here, some times a second.
CREATE FUNCTION public.not_ahead() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $ahead$
BEGIN
  NEW.reporttime := least(NEW.reporttime, clock_timestamp());
  NEW.healthchecktime := least(NEW.healthchecktime, clock_timestamp());
  NEW.statechangetime := least(NEW.statechangetime, clock_timestamp());
  RETURN NEW;
END $ahead$;

CREATE TRIGGER not_ahead BEFORE UPDATE ON pgautofailover.node FOR EACH ROW WHEN (greatest(NEW.reporttime, NEW.healthchecktime, NEW.statechangetime) > clock_timestamp()) EXECUTE FUNCTION public.not_ahead();

-- 2. Nobody is ill to a monitor that has only just started. Where its clock was set back to before its own start, that is so until
-- the clock has got there again. But who is said not to run is ill at any time: so that is said of a database that neither answers nor
-- reports. Its next report says better. (The name puts it behind not_ahead and not_ill.)
CREATE FUNCTION public.runs_no_more() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $runs$
BEGIN
  NEW.reportedpgisrunning := false;
  RETURN NEW;
END $runs$;

CREATE TRIGGER runs_no_more BEFORE UPDATE OF health ON pgautofailover.node FOR EACH ROW WHEN (NEW.health = 0 AND NEW.reportedpgisrunning AND clock_timestamp() < pg_postmaster_start_time() AND NEW.reporttime < clock_timestamp() - current_setting('pgautofailover.node_considered_unhealthy_timeout')::interval) EXECUTE FUNCTION public.runs_no_more();

-- 3. Who checks the databases waits for instants by the wall clock: for the next round, for the next try, for the end of one. Where the
-- clock was set back while a round was under way, that is as long as the step. What was checked last then lies ahead, or soon is long
-- ago; no round takes 2 s. So it is ended, and the extension starts it again within half a second. Every report of a database comes here.
-- (Who holds a row just now puts it right itself.)
CREATE FUNCTION public.restart_the_checks() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $restart$
BEGIN
  IF EXISTS (SELECT FROM pgautofailover.node WHERE healthchecktime NOT BETWEEN clock_timestamp() - interval '5 s' AND clock_timestamp()) THEN
    UPDATE pgautofailover.node SET healthchecktime = clock_timestamp() WHERE nodeid IN (SELECT nodeid FROM pgautofailover.node FOR UPDATE SKIP LOCKED);
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pgautofailover' AND datname = current_database();
  END IF;
  RETURN NULL;
END $restart$;

CREATE TRIGGER restart_the_checks AFTER UPDATE OF reporttime ON pgautofailover.node FOR EACH ROW EXECUTE FUNCTION public.restart_the_checks();
