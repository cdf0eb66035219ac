"""What benchmarks/quality.py is made of: suites as data, nights of the product, statistics over users, the page."""
