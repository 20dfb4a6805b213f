"""How fast the laboratory is: beside plain loops, by size, and under a timer of operations."""
