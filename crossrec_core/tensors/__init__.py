"""The torch room: tensors in, tensors out; IO only in feed, text, checkpoint and scorer."""
