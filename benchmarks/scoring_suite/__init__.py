"""What benchmarks/scoring_job.py is made of: a scene, the contenders that make lists of it, the check of every list."""
