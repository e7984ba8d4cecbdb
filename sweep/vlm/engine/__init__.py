"""Qwen2.5-VL answering work items on one device. `Engine` in `sweep.vlm.engine.engine` is the door."""
