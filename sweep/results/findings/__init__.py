"""What `doctor` looks for: each finding is a pure function of the evidence, in files by theme."""
