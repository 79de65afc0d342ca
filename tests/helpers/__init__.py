"""What tests, benchmarks and tools share; the tests' conftest.py loads it."""
