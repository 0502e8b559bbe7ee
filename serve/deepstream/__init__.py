"""What NVIDIA's DeepStream takes."""
