# Sourced. The settings of the stage file ('-c NAME=VALUE' each) go into a file that postgresql.conf includes last: they win over
# those of pg_auto_failover, whose own file it includes first.
# PostgreSQL's own log lies beside the data, and had no end: one file for each hour of the day, emptied when its hour comes again.
write_settings() {
  {
    printf '%s\n' "log_filename = '%H.log'" 'log_rotation_age = 60' 'log_truncate_on_rotation = on'
    while [ $# -ge 2 ]; do
      printf "%s = '%s'\n" "${2%%=*}" "${2#*=}"
      shift 2
    done
  } >/var/lib/lab/settings.conf
}
