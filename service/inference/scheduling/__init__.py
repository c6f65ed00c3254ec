"""Scheduling of work: admission, worker threads, and a watchdog that checks that work still succeeds."""
