"""The control socket: how the command line reaches the process that owns HOME."""
