"""The torch room: tensors in, tensors out. A file that reads or writes says IO in its docstring."""
