"""Is it still right: mIoU against PyTorch by LIP's protocol, per class, against a tolerance."""
