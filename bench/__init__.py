"""What things cost, measured: `make bench`. Absolute times depend on the machine and on its
neighbours; comparisons with a peer are made in one run, side by side."""
