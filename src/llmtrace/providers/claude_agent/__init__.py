"""The Claude Agent SDK, which starts the command line of Claude Code as a process."""
