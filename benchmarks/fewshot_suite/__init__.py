"""What benchmarks/fewshot.py is made of: ratings to tasks, the product's heads over them, floors, users' measures."""
