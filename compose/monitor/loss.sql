
-- A database acknowledged writes alone, and is lost with its disk: what it had is nowhere else. The others could go on without, and all
-- would look as before. So they do not, until an operator has said so (docs/decisions/0039).

-- The boxes whose disk is empty and that may not be forgotten, since when (as uptime_s says it), and why not.
CREATE TABLE public.lost_disk (nodename text PRIMARY KEY, since float8 NOT NULL DEFAULT public.uptime_s(), reason text NOT NULL);

-- What an election needs, and who is a candidate, as it was before an operator's word; for as long as that is carried out.
CREATE TABLE public.usual_quorum (number_sync_standbys int NOT NULL);

CREATE TABLE public.usual_rank (nodeid bigint PRIMARY KEY, candidatepriority int NOT NULL, replicationquorum bool NOT NULL);

-- A database that has the data, is the primary or becomes one, and answers.
CREATE FUNCTION public.leader() RETURNS text LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT nodename FROM pgautofailover.node WHERE health = 1 AND (reportedstate IN ('single', 'primary', 'wait_primary', 'apply_settings') AND goalstate IN ('single', 'primary', 'wait_primary', 'apply_settings') OR goalstate IN ('single', 'wait_primary') AND reportedstate IN ('prepare_promotion', 'stop_replication')) AND nodename NOT IN (SELECT nodename FROM public.lost_disk) LIMIT 1
$$;

CREATE FUNCTION public.acknowledged_alone(node pgautofailover.node) RETURNS bool LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT node.reportedstate <> 'init' AND ('single' IN (node.reportedstate::text, node.goalstate::text) OR 'wait_primary' IN (node.reportedstate::text, node.goalstate::text))
    OR node.reportedstate IN ('primary', 'apply_settings') AND node.goalstate IN ('primary', 'apply_settings', 'draining') AND NOT (SELECT settled FROM public.durability)
$$;

-- Why what a database was must not be forgotten; nothing where it may be. (1) It has acknowledged alone, or had just been told to; or
-- for whom its commits wait had just changed, so that nobody may have waited with it. (2) There is no primary, and an election would wait for
-- its word: it may be the only one that has the last write. Not so where the last primary has stopped and is there: that one has everything.
CREATE FUNCTION public.why_remember(gone pgautofailover.node) RETURNS text LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN gone.reportedstate IN ('init', 'wait_standby', 'dropped') OR NOT EXISTS (SELECT FROM pgautofailover.node AS other WHERE other.nodeid <> gone.nodeid) THEN NULL
    WHEN public.acknowledged_alone(gone) THEN
      format('%s is lost with its disk, and it may have acknowledged writes that no other database has', gone.nodename)
    WHEN gone.replicationquorum AND gone.reportedstate IN ('secondary', 'catchingup', 'report_lsn', 'join_secondary', 'fast_forward', 'prepare_promotion', 'stop_replication')
      AND public.leader() IS NULL
      AND NOT EXISTS (SELECT FROM pgautofailover.node AS last WHERE last.nodeid <> gone.nodeid AND last.reportedstate IN ('draining', 'demoted') AND last.reporttime > now() - interval '3 s' AND last.reportedtli >= (SELECT max(reportedtli) FROM pgautofailover.node)) THEN
      format('%s is lost with its disk, there is no primary, and it may be the only one that had the last writes', gone.nodename)
  END
$$;

CREATE FUNCTION public.refuse_to_forget() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $refuse$
DECLARE
  reason text := public.why_remember(OLD);
BEGIN
  IF reason IS NOT NULL AND current_setting('lab.loss_is_accepted', true) IS DISTINCT FROM 'yes' THEN
    RAISE EXCEPTION '%', reason USING ERRCODE = 'LOSS1';
  END IF;
  RETURN OLD;
END $refuse$;

CREATE TRIGGER refuse_to_forget BEFORE DELETE ON pgautofailover.node FOR EACH ROW EXECUTE FUNCTION public.refuse_to_forget();

-- Said by a box whose disk is empty: what it was is forgotten. Where it must not be, the answer says why, and the box
-- asks again each second.
CREATE FUNCTION public.forget(who text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $forget$
BEGIN
  BEGIN
    PERFORM pgautofailover.remove_node(nodeid, true) FROM pgautofailover.node WHERE nodename = who;
  EXCEPTION WHEN SQLSTATE 'LOSS1' THEN
    INSERT INTO public.lost_disk (nodename, reason) VALUES (who, SQLERRM) ON CONFLICT (nodename) DO UPDATE SET reason = EXCLUDED.reason;
    RETURN SQLERRM;
  END;
  DELETE FROM public.lost_disk WHERE nodename = who;
  RETURN '';
END $forget$;

-- What an operator has to decide; nothing where there is nothing. A box that has asked for some seconds asks for good. `at_last`: also what
-- often passes by itself.
CREATE FUNCTION public.question(at_last bool) RETURNS text LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT concat_ws('; ',
    (SELECT string_agg(reason, '; ' ORDER BY node.nodename) FROM public.lost_disk JOIN pgautofailover.node USING (nodename) WHERE public.why_remember(node) IS NOT NULL AND public.uptime_s() - since NOT BETWEEN 0 AND 5),
    CASE WHEN at_last AND public.leader() IS NULL AND NOT EXISTS (SELECT FROM public.lost_disk) AND EXISTS (SELECT FROM pgautofailover.node) THEN
      CASE WHEN (SELECT settled FROM public.durability) THEN 'no database may become the primary by itself' ELSE 'there is no primary, and for whom a commit waits had just changed' END
    END)
$$;

-- The operator's word: what is lost is lost. Of the databases on the highest timeline that is left, the one with the longest log is to be the
-- primary, also where its priority is 0. All are asked as in any election, and who has a disk and does not answer is waited for. Returns
-- what is known of the loss. (A report may be old: what guard.sql refuses undoes it, and a database that is stopped reports no position.)
CREATE FUNCTION public.accept_loss() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $accept$
DECLARE
  lost pgautofailover.node;
  best pgautofailover.node;
  doubtful text := (SELECT nodename FROM pgautofailover.node WHERE public.acknowledged_alone(node) AND nodename NOT IN (SELECT nodename FROM public.lost_disk) LIMIT 1);
  moving text := (SELECT nodename FROM pgautofailover.node WHERE reportedstate = 'report_lsn' AND goalstate IN ('join_secondary', 'prepare_promotion') AND reporttime > now() - interval '3 s' AND nodename NOT IN (SELECT nodename FROM public.lost_disk) LIMIT 1);
BEGIN
  IF public.leader() IS NOT NULL THEN
    RAISE EXCEPTION 'there is nothing to decide: % is the primary', public.leader();
  END IF;
  IF doubtful IS NOT NULL THEN
    RAISE EXCEPTION '% may have acknowledged writes that no other database has, and is not known to have lost its disk', doubtful;
  END IF;
  IF moving IS NOT NULL THEN
    RAISE EXCEPTION '% is on its way to another state', moving;
  END IF;
  SELECT * INTO lost FROM pgautofailover.node WHERE nodename IN (SELECT nodename FROM public.lost_disk) ORDER BY reportedtli DESC, reportedlsn DESC LIMIT 1;
  SELECT * INTO best FROM pgautofailover.node WHERE nodename NOT IN (SELECT nodename FROM public.lost_disk) AND reportedlsn > '0/0' ORDER BY reportedtli DESC, reportedlsn DESC LIMIT 1;
  IF NOT EXISTS (SELECT FROM pgautofailover.node WHERE nodename NOT IN (SELECT nodename FROM public.lost_disk) AND reportedtli = best.reportedtli AND reportedstate IN ('secondary', 'catchingup', 'demoted', 'draining', 'report_lsn') AND (health = 1 OR reporttime > now() - interval '3 s') AND (reportedstate IN ('demoted', 'draining') OR reportedlsn >= ALL (SELECT reportedlsn FROM pgautofailover.node WHERE reportedstate = 'join_secondary'))) THEN
    RAISE EXCEPTION 'no database is there that has the latest of the data that is left';
  END IF;
  PERFORM set_config('lab.loss_is_accepted', 'yes', true);
  UPDATE public.durability SET settled = true;
  PERFORM pgautofailover.remove_node(nodeid, true) FROM pgautofailover.node WHERE nodename IN (SELECT nodename FROM public.lost_disk);
  DELETE FROM public.lost_disk;
  PERFORM set_config('lab.loss_is_accepted', '', true);
  INSERT INTO public.usual_quorum SELECT number_sync_standbys FROM pgautofailover.formation WHERE formationid = best.formationid AND number_sync_standbys > 0;
  UPDATE pgautofailover.formation SET number_sync_standbys = 0 WHERE formationid = best.formationid AND number_sync_standbys > 0;
  INSERT INTO public.usual_rank SELECT nodeid, candidatepriority + CASE WHEN candidatepriority < 0 THEN 101 ELSE 0 END, replicationquorum FROM pgautofailover.node ON CONFLICT DO NOTHING;
  -- Who has stopped to join the lost primary has said before what it has, and cannot say it again.
  UPDATE pgautofailover.node SET candidatepriority = CASE WHEN reportedtli = best.reportedtli THEN 100 ELSE 0 END, replicationquorum = replicationquorum AND reportedstate <> 'join_secondary';
  -- Who is alone becomes the primary without an election.
  IF (SELECT count(*) > 1 FROM pgautofailover.node) THEN
    UPDATE pgautofailover.node SET goalstate = 'report_lsn', statechangetime = now() WHERE reportedstate IN ('secondary', 'catchingup', 'demoted', 'draining', 'report_lsn') AND goalstate <> 'report_lsn';
  END IF;
  PERFORM public.wake(node) FROM pgautofailover.node;
  RETURN CASE WHEN lost.nodeid IS NULL THEN 'nothing is known to be lost' ELSE format('%s had last reported its log up to %s on timeline %s, of what is left %s had %s on timeline %s: about %s bytes are lost', lost.nodename, lost.reportedlsn, lost.reportedtli, best.nodename, best.reportedlsn, best.reportedtli, greatest(lost.reportedlsn - best.reportedlsn, 0)) END;
END $accept$;

-- There is a primary: all that is as it was.
CREATE FUNCTION public.as_usual() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $usual$
BEGIN
  UPDATE pgautofailover.formation SET number_sync_standbys = usual_quorum.number_sync_standbys FROM public.usual_quorum;
  DELETE FROM public.usual_quorum;
  UPDATE pgautofailover.node SET candidatepriority = usual.candidatepriority, replicationquorum = usual.replicationquorum FROM public.usual_rank AS usual WHERE node.nodeid = usual.nodeid AND node.nodeid <> NEW.nodeid;
  SELECT candidatepriority, replicationquorum INTO NEW.candidatepriority, NEW.replicationquorum FROM (SELECT candidatepriority, replicationquorum FROM public.usual_rank WHERE nodeid = NEW.nodeid UNION ALL SELECT NEW.candidatepriority, NEW.replicationquorum) AS either LIMIT 1;
  DELETE FROM public.usual_rank;
  RETURN NEW;
END $usual$;

CREATE TRIGGER as_usual BEFORE UPDATE OF reportedstate ON pgautofailover.node FOR EACH ROW WHEN (NEW.reportedstate IN ('single', 'wait_primary') AND OLD.reportedstate <> NEW.reportedstate) EXECUTE FUNCTION public.as_usual();

-- Who has already stopped to join a primary that was lost cannot say what it has: it joins the next one.
CREATE FUNCTION public.stay_joined() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $stay$
BEGIN
  NEW.goalstate := 'join_secondary';
  RETURN NEW;
END $stay$;

CREATE TRIGGER stay_joined BEFORE UPDATE OF reportedstate ON pgautofailover.node FOR EACH ROW WHEN (NEW.reportedstate = 'join_secondary' AND NEW.goalstate = 'report_lsn') EXECUTE FUNCTION public.stay_joined();
