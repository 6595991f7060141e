# The herald of lab-balancer where the address is announced to a router: BIRD, which speaks BGP and BFD with it. The helper
# is lab-announce, which tells BIRD whether this region can serve.
#
# Needs ENTRY, the address that users know, and PREFERENCE: the lower, the sooner this box is used.
: "${ENTRY:?}" "${PREFERENCE:?}"

# BIRD's configuration may use these three.
configure() {
  { printf 'define %s = %s;\n' EDGE "$EDGE" ENTRY "$ENTRY/32" PREFERENCE "$PREFERENCE"; cat /etc/lab/bird.conf; } >/run/bird.conf
}

hold() {
  configure
  # All balancers have it at once, where no neighbour can ask for it (ARP): only the router's decision leads here.
  ip address replace "$ENTRY/32" dev lo
  # It finds its interface by itself, also a new one. NET_ADMIN: the packets of BFD leave before all others (SO_PRIORITY).
  become bird --inh-caps=+net_admin --ambient-caps=+net_admin bird -f -c /run/bird.conf -s /run/bird.ctl &
  herald=$!
  until [ -S /run/bird.ctl ]; do
    alive "$herald" || fail 'bird does not start'
    sleep 0.02
  done
  become bird lab-announce &
  helper=$!
}

tend() {
  alive "$herald" || fail 'bird has ended'
  # Nobody would notice any more that this region cannot serve.
  alive "$helper" || fail 'lab-announce has ended'
}

# Only HAProxy reads its configuration again: BIRD would forget what lab-announce has told it.
reread() { :; }

# BIRD goes on for as long as HAProxy does: the router sends no new connection, and leaves those that it has here.
step_aside() {
  if alive "$helper"; then kill -TERM "$helper" && wait "$helper"; fi
  if alive "$herald"; then
    (become bird birdc -s /run/bird.ctl disable able >/dev/null)
    sleep 0.1 # until the router has acted on it: it takes a few milliseconds
  fi
}
