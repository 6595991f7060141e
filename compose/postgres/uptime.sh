# Sourced. Whole seconds since the machine started: for deadlines. The wall clock may be set while one runs.
uptime_s() { read -r seconds _ </proc/uptime; echo "${seconds%.*}"; }
