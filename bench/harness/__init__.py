"""What `compare` and `scaling` stand on. Python 3.11 or later, its standard library alone."""
