# Sourced. The settings of the stage file ('-c NAME=VALUE' each) go into a file that postgresql.conf includes last.
write_settings() {
  while [ $# -ge 2 ]; do
    printf "%s = '%s'\n" "${2%%=*}" "${2#*=}"
    shift 2
  done >/var/lib/lab/settings.conf
}
