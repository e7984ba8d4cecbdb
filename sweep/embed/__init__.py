"""Embeddings of items: images and questions as a CLIP or SigLIP checkpoint, or the model that answers, sees them."""
