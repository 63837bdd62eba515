"""Recognizers as single files that need no Kinoray to run: ONNX, and torch.export's ``.pt2``."""
