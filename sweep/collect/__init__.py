"""Beams measured here: demonstration sequences are proposed, answered by the model, scored and stored."""
