"""What several benchmarks of screening need."""
