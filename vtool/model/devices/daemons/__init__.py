"""Daemons that serve devices: a file a daemon, named as it; its ``DAEMON``, and a type that it alone serves."""
