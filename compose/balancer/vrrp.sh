# The herald of lab-balancer where the address moves between neighbours: keepalived. It says farewell at once (priority 0:
# the partner does not have to miss it first), and ends a second later.

# For keepalived, $EDGE is the name of the interface.
configure() { { printf '$EDGE=%s\n' "$edge"; cat /etc/lab/keepalived.conf; } >/run/keepalived.conf; }

# Ends when that interface is gone, or is another one of the same name.
watch_edge() { while [ "$(cat "/sys/class/net/$edge/ifindex" 2>/dev/null)" = "$1" ]; do sleep 0.5; done; }

# For keepalived's track_file, where the stage has one: 1 as long as HAProxy says that this box reaches less than most of
# the system, else 0.
watch_reach() {
  while :; do
    if curl -fs -m 0.3 -o /dev/null http://127.0.0.1:8404/majority; then echo 0; else echo 1; fi >/run/minority
    sleep 0.5
  done
}
if grep -q /run/minority /etc/lab/keepalived.conf; then watch_reach & fi

# For keepalived's other track_file, where the stage has somebody to ask ($ARBITER): 1 as long as this balancer has to be
# without the address. Two that do not hear each other both hold it, and a third, whom both reach, says who leaves.
# Asked only by one that holds the address, or that was told to leave, and only where the partner itself does not answer.
holds_entry() { [ -n "$(ip -o -4 address show to "$ENTRY")" ]; }
ask() { curl --noproxy '*' -fs -m "$1" "http://$2"; }
hears_partner() { ask 0.15 "${PARTNER%% *}:8404/health" >/dev/null; }
# Who was told to leave does not come back because one answer is late or missing: two must be.
watch_partner() {
  local apart=0 doubts=0 written=0
  while :; do
    if { [ "$apart" = 0 ] && ! holds_entry; } || hears_partner; then
      apart=0 doubts=0
    elif [ "$(ask 0.4 "$ARBITER/$HOSTNAME")" = leave ]; then
      apart=1 doubts=0
    elif [ "$apart" = 1 ]; then
      doubts=$((doubts + 1))
      [ "$doubts" -lt 2 ] || apart=0 doubts=0
    fi
    # keepalived wakes up whenever it is written.
    [ "$apart" = "$written" ] || echo "$apart" >/run/apart
    written=$apart
    sleep 0.3
  done
}
if grep -q /run/apart /etc/lab/keepalived.conf; then
  : "${ENTRY:?}" "${PARTNER:?}" "${ARBITER:?}"
  # Before keepalived makes it, as another user: then it could not be written here.
  echo 0 >/run/apart
  watch_partner &
fi

# Where the stage says the partner's address and MAC address ($PARTNER), the box need not ask for it. Who has not heard the
# other for half a minute may have forgotten where it is, and asks once a second: until then neither hears that both hold
# the address (docs/decisions/0025).
know_partner() {
  local address mac
  read -r address mac <<<"${PARTNER:-}"
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
