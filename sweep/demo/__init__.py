"""The demo world: generated images and questions, and a small Qwen2.5-VL that answers them from demonstrations."""
