"""What tests of real clusters share; importable as `support`."""
