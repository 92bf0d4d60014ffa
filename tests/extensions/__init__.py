"""What others add to the package, one file each: a formulation, two baselines, a rung."""
