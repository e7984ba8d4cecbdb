"""Asking a vision-language model. Needs torch, transformers and Pillow; knows neither Ray nor the sweep's runs."""
