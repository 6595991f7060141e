"""What stands where users stand: the open-loop load, the audit of its writes, and the self-test's server.

Runs in the internet box, never on the host. Only `client.generator` imports locust (it patches the
standard library for gevent); keep it out of every other process.
"""
