# What the users' router (lab-internet) has for each balancer: a mark for its connections, and a table of routes for each mark.
# Needs ENTRY and BALANCERS. A mark, and the number of its table, is the last number of the balancer's address.

# Rules of nftables.
flows() {
  local balancer marks=''
  for balancer in $BALANCERS; do
    marks+="${marks:+, }${balancer#*=} : ${balancer##*.}"
  done
  cat <<END
table ip flows {
  map tables {
    typeof rt ip nexthop : ct mark
    elements = { $marks }
  }
  chain route {
    type route hook output priority mangle
    ip daddr != $ENTRY return
    # A new one takes the best way. Its first packet is new for as long as nothing has answered: repeated, it takes what is
    # the best way then.
    ct state new ct mark set rt ip nexthop map @tables
    meta mark set ct mark
  }
  # Its balancer is gone, and with it the next hop: it is broken at once.
  chain gone {
    type filter hook output priority filter
    ip daddr $ENTRY rt ip nexthop $ENTRY ip protocol tcp reject with tcp reset
  }
}
END
}

# What a balancer announces goes into a table of its own, the way of the connections that it has. The best of all goes into
# master4, the way of new connections. The template, with its timers, stands in the stage file.
peers() {
  local balancer name address
  for balancer in $BALANCERS; do
    name=${balancer%%=*} address=${balancer#*=}
    cat <<END
ipv4 table ${name}_alone;
protocol bgp $name from balancer { neighbor $address as 64500; ipv4 { table ${name}_alone; import all; export none; }; }
protocol pipe { table ${name}_alone; peer table master4; export all; import none; }
protocol kernel { kernel table ${address##*.}; ipv4 { table ${name}_alone; export all; import none; }; }
END
  done
  echo 'protocol kernel { ipv4 { export all; import none; }; }'
}
