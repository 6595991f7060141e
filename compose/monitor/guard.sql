-- The monitor promotes a standby that it calls a secondary. Between a standby's return and the moment at which the
-- primary waits for it again (wait_primary becomes primary: some tenths of a second) it is a secondary already, and the
-- primary acknowledges commits that this standby may not have. Should the primary die just then, its return is awaited
-- rather than an acknowledged write lost.
CREATE FUNCTION public.refuse_promotion_that_could_lose() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
  IF EXISTS (SELECT FROM pgautofailover.node WHERE formationid = NEW.formationid AND groupid = NEW.groupid AND nodeid <> NEW.nodeid AND reportedstate = 'wait_primary') THEN
    RAISE EXCEPTION '% may lack acknowledged writes: its primary did not wait for it', NEW.nodename;
  END IF;
  RETURN NEW;
END $guard$;

CREATE TRIGGER refuse_promotion_that_could_lose BEFORE UPDATE OF goalstate ON pgautofailover.node FOR EACH ROW WHEN (NEW.goalstate = 'prepare_promotion' AND OLD.goalstate = 'secondary') EXECUTE FUNCTION public.refuse_promotion_that_could_lose();
