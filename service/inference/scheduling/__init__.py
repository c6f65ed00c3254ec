"""What is accepted, when it is worked on, and whether work still succeeds."""
