-- A planned change-over to a standby that is known to lack nothing needs no election. pg_auto_failover (2.2) knows that only of
-- two databases; with more, all of them restart to say how far they are, the next primary too, while nobody can write.
-- Here the old primary's box says where its log ended when it was stopped in order. Once the next primary has said that it
-- has more than that, it is promoted as it is; the others follow it afterwards. Who is not known to have all of it takes part in an
-- election, as after a loss.

-- The planned change-over that is under way, or the last one; and what the box of the old primary has said of the end of its log. When
-- it was ordered is said in seconds since the machine started: the wall clock may be set meanwhile (clock.sql).
CREATE TABLE public.change_over (target text NOT NULL, from_whom text NOT NULL, ordered float8 NOT NULL DEFAULT public.uptime_s(), stopped_at pg_lsn, timeline int);

-- What has a keeper look for its orders at once.
CREATE FUNCTION public.wake(node pgautofailover.node) RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_notify('state', json_build_object('type', 'state', 'formation', node.formationid, 'groupId', node.groupid, 'nodeId', node.nodeid, 'name', node.nodename, 'host', node.nodehost, 'port', node.nodeport, 'reportedState', node.reportedstate, 'goalState', node.goalstate, 'health', CASE node.health WHEN 1 THEN 'good' ELSE 'bad' END)::text)
$$;

-- Ordered by the operator: this standby shall be the primary; without a name, the one that an election would choose. The extension
-- checks whether that can be done, and has the group to itself until the end of the transaction. Of two databases it knows what to do.
CREATE FUNCTION public.change_over(wanted text DEFAULT '') RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $order$
DECLARE
  chosen text := coalesce(nullif(wanted, ''), (SELECT nodename FROM pgautofailover.node WHERE reportedstate = 'secondary' AND goalstate = 'secondary' AND health = 1 AND candidatepriority > 0 ORDER BY candidatepriority DESC, reportedlsn DESC, nodeid LIMIT 1));
BEGIN
  IF chosen IS NULL THEN
    RAISE EXCEPTION 'no standby could take over';
  END IF;
  IF NOT pgautofailover.perform_promotion('default', chosen) THEN
    RAISE EXCEPTION '% is the primary already', chosen;
  END IF;
  DELETE FROM public.change_over;
  INSERT INTO public.change_over (target, from_whom) SELECT chosen, nodename FROM pgautofailover.node WHERE goalstate = 'draining' AND reportedstate = 'primary' AND (SELECT count(*) > 2 FROM pgautofailover.node);
END $order$;

-- Said by a box whose primary was stopped in order: where the last record of its log begins, and on which timeline. Not believed for
-- long: an order that was not carried out is no business of the next stop. The last word counts.
CREATE FUNCTION public.stopped_at(who text, on_timeline int, last_record pg_lsn) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $said$
BEGIN
  UPDATE public.change_over SET stopped_at = last_record, timeline = on_timeline WHERE from_whom = who AND public.uptime_s() - ordered BETWEEN 0 AND 10;
  PERFORM public.wake(node) FROM pgautofailover.node JOIN public.change_over ON target = nodename WHERE from_whom = who;
END $said$;

-- Who runs as the primary again will write more: its log has another end.
CREATE FUNCTION public.runs_again() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $runs$
BEGIN
  UPDATE public.change_over SET stopped_at = NULL, timeline = NULL WHERE from_whom = NEW.nodename AND stopped_at IS NOT NULL;
  RETURN NULL;
END $runs$;

CREATE TRIGGER runs_again AFTER UPDATE OF reportedpgisrunning ON pgautofailover.node FOR EACH ROW WHEN (NEW.reportedpgisrunning AND NEW.reportedstate = 'primary') EXECUTE FUNCTION public.runs_again();

-- Said by a box whose primary accepts connections and takes no writes (write_probe): the checks of pg_auto_failover find it healthy, so
-- nothing else would replace it. It is carried out as a planned change-over, and only where one can be: what the extension and guard.sql
-- refuse is an error here, and the primary stays, for it still answers reads. Once in 20 s at most, whichever database it is: where the
-- next one takes no writes either, taking turns would help nobody.
CREATE TABLE public.stood_down (leader text NOT NULL, ordered float8 NOT NULL DEFAULT public.uptime_s());

CREATE FUNCTION public.stand_down(leader text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $down$
BEGIN
  IF NOT EXISTS (SELECT FROM pgautofailover.node WHERE nodename = stand_down.leader AND reportedstate = 'primary' AND goalstate = 'primary') THEN
    RAISE EXCEPTION '% is not the primary, or is on its way to another state', leader;
  END IF;
  IF EXISTS (SELECT FROM public.stood_down WHERE public.uptime_s() - ordered BETWEEN 0 AND 20) THEN
    RAISE EXCEPTION 'a primary has stood down within the last 20 s';
  END IF;
  PERFORM public.change_over('');
  DELETE FROM public.stood_down;
  INSERT INTO public.stood_down VALUES (leader);
END $down$;

-- Who is being stopped in order does not answer, and is not ill: no election begins for that, for as long as it may take.
CREATE FUNCTION public.not_ill() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $well$
BEGIN
  IF EXISTS (SELECT FROM public.change_over WHERE from_whom = NEW.nodename AND public.uptime_s() - ordered BETWEEN 0 AND 3) THEN
    NEW.health := OLD.health;
  END IF;
  RETURN NEW;
END $well$;

CREATE TRIGGER not_ill BEFORE UPDATE OF health ON pgautofailover.node FOR EACH ROW WHEN (NEW.health = 0 AND OLD.health = 1) EXECUTE FUNCTION public.not_ill();

-- Whether the standby that is to take over has all of the log, as far as it is known now: also the whole of the last record, which is 114
-- bytes long (PostgreSQL 17). With a part of it, the next timeline would begin before the end, and who has all could not follow.
CREATE FUNCTION public.lacks_nothing(change public.change_over) RETURNS bool LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM pgautofailover.node WHERE nodename = change.target AND reportedlsn >= change.stopped_at + 114 AND reportedtli = change.timeline)
$$;

-- The old primary's keeper says that it is stopped. Both words that are needed are on their way just now, so they are awaited, for a
-- moment. Where all the others follow it still, and nobody has begun an election, the next primary gets the state of one that has won
-- an election, so that nobody else begins one; the old one, that of one which is no primary any more: else the next one would
-- have to wait for it. In all other cases it goes on as pg_auto_failover has it.
CREATE FUNCTION public.hand_over() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $hand$
DECLARE
  change public.change_over;
  heir pgautofailover.node;
  deadline float8 := public.uptime_s() + 1;
BEGIN
  LOOP
    SELECT * INTO change FROM public.change_over WHERE from_whom = NEW.nodename AND public.uptime_s() - ordered BETWEEN 0 AND 10;
    IF NOT FOUND OR public.uptime_s() > deadline THEN
      RETURN NEW;
    END IF;
    EXIT WHEN public.lacks_nothing(change);
    PERFORM pg_sleep(0.01);
  END LOOP;
  -- Who would begin an election, or promote somebody, changes one of these.
  PERFORM FROM pgautofailover.node WHERE nodeid <> NEW.nodeid ORDER BY nodeid FOR UPDATE;
  SELECT * INTO heir FROM pgautofailover.node WHERE nodename = change.target;
  IF NOT public.lacks_nothing(change) OR EXISTS (SELECT FROM pgautofailover.node WHERE nodeid <> NEW.nodeid AND NOT (reportedstate = 'secondary' AND goalstate = 'secondary')) THEN
    RETURN NEW;
  END IF;
  BEGIN
    UPDATE pgautofailover.node SET reportedstate = 'report_lsn', goalstate = 'prepare_promotion', statechangetime = now(), candidatepriority = candidatepriority - CASE WHEN candidatepriority > 100 THEN 101 ELSE 0 END WHERE nodeid = heir.nodeid;
  EXCEPTION WHEN raise_exception THEN
    PERFORM pg_notify('log', format('Not without an election: %s', SQLERRM));
    RETURN NEW;
  END;
  NEW.reportedstate := 'demoted';
  NEW.goalstate := 'demoted';
  NEW.candidatepriority := NEW.candidatepriority + CASE WHEN NEW.candidatepriority < 0 THEN 101 ELSE 0 END;
  PERFORM public.wake(node) FROM pgautofailover.node WHERE nodeid = heir.nodeid;
  PERFORM pg_notify('log', format('Setting goal state of node %s "%s" (%s:%s) to prepare_promotion: it has the log of "%s" to its end, %s', heir.nodeid, heir.nodename, heir.nodehost, heir.nodeport, NEW.nodename, change.stopped_at));
  RETURN NEW;
END $hand$;

CREATE TRIGGER hand_over BEFORE UPDATE OF reportedstate ON pgautofailover.node FOR EACH ROW WHEN (NEW.reportedstate = 'draining' AND OLD.reportedstate = 'primary' AND OLD.goalstate = 'draining') EXECUTE FUNCTION public.hand_over();

-- Both say what they were until they have heard what they are now: that takes nothing back.
CREATE FUNCTION public.remain() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $remain$
BEGIN
  NEW.reportedstate := OLD.reportedstate;
  RETURN NEW;
END $remain$;

CREATE TRIGGER remain_chosen BEFORE UPDATE OF reportedstate ON pgautofailover.node FOR EACH ROW WHEN (NEW.reportedstate = 'secondary' AND OLD.reportedstate = 'report_lsn' AND OLD.goalstate = 'prepare_promotion') EXECUTE FUNCTION public.remain();

CREATE TRIGGER remain_demoted BEFORE UPDATE OF reportedstate ON pgautofailover.node FOR EACH ROW WHEN (NEW.reportedstate = 'draining' AND OLD.reportedstate = 'demoted' AND OLD.goalstate = 'demoted') EXECUTE FUNCTION public.remain();

-- Who was chosen, or was the primary, has lost its disk, and joins as somebody else: those who had not been asked are asked now.
CREATE FUNCTION public.ask_the_others() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $ask$
BEGIN
  IF NOT EXISTS (SELECT FROM pgautofailover.node WHERE goalstate IN ('single', 'primary', 'wait_primary', 'apply_settings', 'fast_forward', 'prepare_promotion', 'stop_replication')) THEN
    UPDATE pgautofailover.node SET goalstate = 'report_lsn', statechangetime = now() WHERE reportedstate = goalstate AND goalstate IN ('secondary', 'demoted');
  END IF;
  RETURN NULL;
END $ask$;

CREATE TRIGGER ask_the_others AFTER DELETE ON pgautofailover.node FOR EACH ROW WHEN (OLD.goalstate IN ('prepare_promotion', 'stop_replication', 'wait_primary', 'primary', 'apply_settings', 'single', 'draining')) EXECUTE FUNCTION public.ask_the_others();

-- There is a new primary. The others have followed the old one until now; "catchingup" has them follow this one. (After an election there
-- are none of these.) The extension lowers the old primary's priority for the election, and forgets to raise it again where it took no part.
CREATE FUNCTION public.follow_the_next() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $follow$
BEGIN
  IF EXISTS (SELECT FROM public.change_over WHERE target = NEW.nodename) THEN
    UPDATE pgautofailover.node SET goalstate = 'catchingup', statechangetime = now() WHERE nodeid <> NEW.nodeid AND reportedstate = 'secondary' AND goalstate = 'secondary';
    UPDATE pgautofailover.node SET candidatepriority = candidatepriority + 101 WHERE nodeid <> NEW.nodeid AND candidatepriority < 0;
    DELETE FROM public.change_over;
  END IF;
  RETURN NEW;
END $follow$;

CREATE TRIGGER follow_the_next BEFORE UPDATE OF reportedstate ON pgautofailover.node FOR EACH ROW WHEN (NEW.reportedstate = 'wait_primary' AND OLD.reportedstate IN ('prepare_promotion', 'stop_replication')) EXECUTE FUNCTION public.follow_the_next();
