"""Asking a vision-language model. Needs torch, transformers and Pillow. Knows neither Ray nor the sweep's runs."""
