# The herald of lab-balancer where the address moves between neighbours: keepalived. It says farewell at once (priority 0:
# the partner does not have to miss it first), and ends a second later.

# For keepalived, $EDGE is the name of the interface.
configure() { { printf '$EDGE=%s\n' "$edge"; cat /etc/lab/keepalived.conf; } >/run/keepalived.conf; }

# Ends when that interface is gone, or is another one of the same name.
watch_edge() { while [ "$(cat "/sys/class/net/$edge/ifindex" 2>/dev/null)" = "$1" ]; do sleep 0.5; done; }

# What keepalived tracks (track_file), and lab-reach writes, as a user of its own. The files are made here, before keepalived
# makes them as another user: then they could not be written any more.
reset_tracked() { (become reach tee /run/apart /run/minority <<<0 >/dev/null); }

# Whole seconds since the machine started. (SECONDS is a wall clock, which may be set.)
uptime_s() { local seconds; read -r seconds _ </proc/uptime; echo "${seconds%.*}"; }

# The next lab-reach goes on from the last word. One that ends again and again has none: then nothing keeps this box apart.
judge() {
  local since_s
  while :; do
    since_s=$(uptime_s)
    (become reach lab-reach)
    [ "$(($(uptime_s) - since_s))" -ge 5 ] || reset_tracked
    sleep 0.5
  done
}

if grep -q /run/apart /etc/lab/keepalived.conf; then
  : "${ENTRY:?}" "${PARTNER:?}" "${USERS:?}" "${WEB_ENOUGH:?}" "${GIVE_AWAY_AFTER:?}"
  reset_tracked
  judge &
fi

# Where the stage says the partner's MAC address too (PARTNER is 'EDGE APP MAC'), the box need not ask for it. Who has not
# heard the other for half a minute may have forgotten where it is, and asks once a second: until then neither hears that
# both hold the address (docs/decisions/0025).
know_partner() {
  local address mac
  read -r address _ mac <<<"${PARTNER:-}"
  [ -z "$mac" ] || ip neighbour replace "$address" lladdr "$mac" nud permanent dev "$edge"
}

hold() {
  configure
  know_partner
  watch_edge "$(cat "/sys/class/net/$edge/ifindex")" &
  helper=$!
  become keepalived --inh-caps=+net_admin,+net_raw --ambient-caps=+net_admin,+net_raw \
    keepalived --vrrp --dont-fork --dont-respawn --log-console --no-syslog --use-file=/run/keepalived.conf &
  herald=$!
}

tend() {
  alive "$herald" || fail 'keepalived has ended'
  # The interface is gone: the box was cut off. keepalived would wait for its old name for good.
  alive "$helper" || give_up_and_wait
}

reread() { kill -HUP "$herald"; }

step_aside() { give_up_and_wait; }
