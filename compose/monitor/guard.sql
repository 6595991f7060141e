-- What the monitor must not do, whatever its state machine says. An exception here undoes one keeper's question; the
-- keeper asks again within a second, and gets its answer as soon as the reason is gone.

-- Whether every commit that was ever acknowledged is with somebody whom an election waits for. Only where several regions
-- change places does it not go without saying (the program durability).
CREATE TABLE public.durability (settled bool NOT NULL);

INSERT INTO public.durability VALUES (true);

-- 1. A database that may lack acknowledged writes must not become the primary, nor be taken from its primary for that.
-- A primary that has just been promoted, or whose standby has just returned, acknowledges commits alone until the first
-- standby is a secondary and it has been told to wait for it (wait_primary becomes primary: tenths of a second with two
-- databases, seconds with three). Should it be lost just then, its return is awaited rather than a write lost.
-- And of two old databases the monitor takes the one with the higher position in the log, also where that is a log
-- which was left behind by a promotion.
CREATE FUNCTION public.refuse_promotion_that_could_lose() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $guard$
BEGIN
  IF EXISTS (SELECT FROM pgautofailover.node AS other WHERE other.formationid = NEW.formationid AND other.groupid = NEW.groupid AND other.nodeid <> NEW.nodeid AND other.reportedstate = 'wait_primary') THEN
    RAISE EXCEPTION '% may lack acknowledged writes: its primary did not wait for it', NEW.nodename;
  END IF;
  IF NEW.goalstate <> 'report_lsn' AND EXISTS (SELECT FROM pgautofailover.node AS other WHERE other.formationid = NEW.formationid AND other.groupid = NEW.groupid AND other.reportedtli > NEW.reportedtli) THEN
    RAISE EXCEPTION '% may lack acknowledged writes: it has missed a promotion', NEW.nodename;
  END IF;
  IF NOT EXISTS (SELECT FROM pgautofailover.node AS other WHERE other.formationid = NEW.formationid AND other.groupid = NEW.groupid AND other.replicationquorum AND other.reportedstate NOT IN ('primary', 'wait_primary', 'apply_settings')) THEN
    RAISE EXCEPTION '% may lack acknowledged writes: a commit waited for nobody', NEW.nodename;
  END IF;
  IF NOT (SELECT settled FROM public.durability) THEN
    RAISE EXCEPTION '% may lack acknowledged writes: for whom a commit waits has just changed', NEW.nodename;
  END IF;
  RETURN NEW;
END $guard$;

CREATE TRIGGER refuse_promotion_that_could_lose BEFORE UPDATE OF goalstate ON pgautofailover.node FOR EACH ROW WHEN (NEW.goalstate IN ('report_lsn', 'fast_forward', 'prepare_promotion') AND OLD.goalstate <> NEW.goalstate) EXECUTE FUNCTION public.refuse_promotion_that_could_lose();

-- 2. A timeline that was reached is not left because nobody could be asked. While PostgreSQL is down the keeper (2.2) says the
-- timeline of when it last looked at the files, which may be that of before the promotion, and no other as long as this database
-- follows nobody. The monitor sorts by timeline, and then chooses by position: it has the one that has most fetch from itself
-- what it lacks, for good. Who follows another one, and runs, says what it follows; that may be a lower one (a rewind).
CREATE FUNCTION public.keep_timeline() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $guard$
BEGIN
  NEW.reportedtli := OLD.reportedtli;
  RETURN NEW;
END $guard$;

CREATE TRIGGER keep_timeline BEFORE UPDATE OF reportedtli ON pgautofailover.node FOR EACH ROW WHEN (NEW.reportedtli < OLD.reportedtli AND NOT (NEW.reportedpgisrunning AND NEW.reportedstate IN ('secondary', 'catchingup'))) EXECUTE FUNCTION public.keep_timeline();

-- 3. A primary must not be told to step down, nor its standbys to leave it, where nobody can take over. With several
-- standbys the election waits until every one that a commit may have waited for has said what it has; so one of those that
-- is ill, or has no data yet, makes it an election without end. A primary that was called ill for a moment would stay down,
-- or without a standby that acknowledges, for as long as that one does.
-- And nobody may still be joining the last primary (join_secondary) when an election has none: pg_auto_failover 2.2 then looks
-- for the primary of whom there is none, and the whole monitor crashes, again with each report. Who has joined is a secondary,
-- which is the next thing that it would have been told.
-- A last primary that has said that it is none any more is not to be spared: then whoever returns takes part, also while its
-- PostgreSQL does not run yet. (It is started only after the answer.)
CREATE FUNCTION public.refuse_election_that_could_not_end() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $guard$
DECLARE
  standbys int := (SELECT count(*) - 1 FROM pgautofailover.node WHERE formationid = NEW.formationid AND groupid = NEW.groupid);
  has_primary bool := EXISTS (SELECT FROM pgautofailover.node WHERE formationid = NEW.formationid AND groupid = NEW.groupid AND reportedstate IN ('primary', 'wait_primary', 'apply_settings'));
  voters_needed int := (SELECT count(*) FROM pgautofailover.node WHERE formationid = NEW.formationid AND groupid = NEW.groupid AND replicationquorum AND reportedstate NOT IN ('primary', 'wait_primary', 'apply_settings', 'draining', 'demote_timeout', 'demoted', 'prepare_maintenance', 'maintenance'));
  voters int := (SELECT count(*) FROM pgautofailover.node WHERE formationid = NEW.formationid AND groupid = NEW.groupid AND replicationquorum AND (goalstate = 'report_lsn' OR reportedstate IN ('secondary', 'catchingup', 'report_lsn') AND (health = 1 OR reporttime > now() - current_setting('pgautofailover.node_considered_unhealthy_timeout')::interval) AND reportedpgisrunning));
BEGIN
  IF standbys > 1 AND voters < voters_needed AND (has_primary OR NEW.goalstate = 'draining') THEN
    RAISE EXCEPTION 'no election: % of % standbys could take part', voters, voters_needed;
  END IF;
  IF NOT (SELECT settled FROM public.durability) THEN
    RAISE EXCEPTION 'no election: for whom a commit waits has just changed';
  END IF;
  IF EXISTS (SELECT FROM pgautofailover.node AS other WHERE other.formationid = NEW.formationid AND other.groupid = NEW.groupid AND other.goalstate = 'join_secondary' AND other.reportedstate <> 'join_secondary' AND other.reporttime > now() - interval '2 s') THEN
    RAISE EXCEPTION 'no election: a standby is just joining';
  END IF;
  UPDATE pgautofailover.node AS other SET goalstate = 'secondary' WHERE other.formationid = NEW.formationid AND other.groupid = NEW.groupid AND other.goalstate = 'join_secondary' AND other.reportedstate = 'join_secondary';
  RETURN NEW;
END $guard$;

CREATE TRIGGER refuse_election_that_could_not_end BEFORE UPDATE OF goalstate ON pgautofailover.node FOR EACH ROW WHEN (NEW.goalstate = 'draining' AND OLD.goalstate <> 'draining' OR NEW.goalstate = 'report_lsn' AND OLD.goalstate IN ('secondary', 'catchingup')) EXECUTE FUNCTION public.refuse_election_that_could_not_end();
