# What the ways to start a database box share. Sourced; needs ORDERDESK_PASSWORD and AUDITOR_PASSWORD (across
# boxes nobody is trusted), and REPLICATOR_PASSWORD where the database is to be copied.
. /usr/local/lib/lab/uptime.sh
: "${ORDERDESK_PASSWORD:?}" "${AUDITOR_PASSWORD:?}" "${REPLICATOR_PASSWORD:=}" "${STANDBY_OF:=}"
new="$PGDATA.new"
COPY_TIMEOUT_S=120
# A password is checked at each of some twenty connections a second; 4096 rounds of hashing would be a tenth of a core.
CHEAP_PASSWORDS="SET scram_iterations = 256;"

# A new cluster with the order desk's tables and roles. Arguments: more statements, each in one string.
initialise() {
  rm -rf "$new"
  # Small segments of the log: whoever joins or rejoins copies them whole, filled or not, and across a slow line that shows.
  initdb --pgdata="$new" --username=postgres --auth-local=peer --auth-host=scram-sha-256 --wal-segsize=1 \
    --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
  printf 'host all,replication all 198.18.0.0/15 scram-sha-256\n' >>"$new/pg_hba.conf"
  # Single-user mode: nobody can connect to a half-made database.
  {
    echo "$CHEAP_PASSWORDS"
    printf "CREATE ROLE orderdesk LOGIN PASSWORD '%s';\n" "$ORDERDESK_PASSWORD"
    printf "CREATE ROLE auditor LOGIN PASSWORD '%s' IN ROLE pg_monitor;\n" "$AUDITOR_PASSWORD"
    [ -z "$REPLICATOR_PASSWORD" ] || printf "CREATE ROLE replicator LOGIN REPLICATION PASSWORD '%s';\n" "$REPLICATOR_PASSWORD"
    [ $# -eq 0 ] || printf '%s;\n' "$@"
    # Statements in single-user mode end at a semicolon and an empty line (-j).
    sed 's/--.*//; s/;$/;\n/' /usr/local/lib/lab/schema.sql
  } | sed 's/;$/;\n/' | postgres --single -j -D "$new" postgres >/dev/null
  finish
}

# Only a complete cluster gets the name: a box killed half-way starts over.
finish() {
  rm -rf "$PGDATA"
  mv "$new" "$PGDATA"
  sync -f "$PGDATA"
}

# Run a command every 0.2 s until it succeeds; end this box, with the command's words, if that takes too long.
await() {
  deadline=$(($(uptime_s) + COPY_TIMEOUT_S))
  until said=$("$@" 2>&1); do
    [ "$(uptime_s)" -lt "$deadline" ] || { printf 'gave up waiting for %s: %s\n' "$1" "$said" >&2; exit 1; }
    sleep 0.2
  done
}
