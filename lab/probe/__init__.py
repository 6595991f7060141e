"""What is observed of a running stage: observer, status, roles, BGP, logs."""
